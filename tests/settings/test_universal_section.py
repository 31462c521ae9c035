"""What a recipe may say of a universal synthesizer: every mistake at once, with its path and line, and no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from weightsmith.architectures.families import SPLITS, TRAINED
from weightsmith.architectures.families.drawing import HELD_OUT
from weightsmith.errors import BadInput, RecipeError
from weightsmith.hypernetworks import HypernetworkSizes
from weightsmith.settings.experiment import learns_zoo, require_experiment, require_zoo
from weightsmith.settings.loading import load_recipe, parse_recipe
from weightsmith.settings.universal_section import FamilySettings, UniversalSettings

HEAD = "name: a\ndescription: b\n"


def test_every_mistake_is_reported_with_its_line() -> None:
    text = HEAD + (
        "generator: {name: univrsal}\n"
        "universal:\n"
        "  families: {cnnn: 2, mlp: x}\n"
        "  pool: 0\n"
        "  splits: [traning, held_out_family]\n"
        "  objective: tsk\n"
        "  workers: -1\n"
        "training: {optimizer: mun}\n"
    )
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "mine.yaml", ("universal.families.vitt=1", "universal.monitr=2"))
    expected = [
        "holds 10 mistakes",
        "generator.name (line 3): found univrsal",
        "the nearest is 'universal'",
        "universal.families.cnnn (line 5): unknown key; the nearest is 'cnn'",
        "universal.families.mlp (line 5): found x, expected an integer",
        "universal.pool (line 6): found 0, expected at least 1",
        "universal.splits[0] (line 7): found traning, expected training, unseen_size, beyond, unseen_combination",
        "universal.splits[1] (line 7): found held_out_family",
        "universal.objective (line 8): found tsk, expected task",
        "universal.workers (line 9): found -1, expected at least 0",
        "training.optimizer (line 10): found mun, expected adam, adamw, muon; the nearest is 'muon'",
        "universal.families.vitt (command line): unknown key; the nearest is 'vit'",
        "universal.monitr (command line): unknown key; the nearest is 'monitored'",
    ]
    assert [line for line in expected[1:] if line not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{families: {}}", "a family with a weight above 0"),
        ("{families: {mlp: 0}}", "a family with a weight above 0"),
        ("{splits: [beyond, beyond]}", "each split once"),
        ("{splits: []}", "at least this long: 1"),
    ],
)
def test_families_and_splits_that_leave_nothing_are_refused(section: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        parse_recipe(HEAD + f"universal: {section}\n")


def test_families_are_those_that_are_drawn_and_only_those_named() -> None:
    assert list(FamilySettings.model_fields) == [*TRAINED, *HELD_OUT]
    assert UniversalSettings().families.weights == TRAINED
    recipe = parse_recipe(HEAD + "universal: {families: {mlp: 1}}\n", overrides=["universal.families.mixer=2"])
    assert recipe.universal.families.weights == {"mlp": 1, "mixer": 2}
    assert set(UniversalSettings().splits) < set(SPLITS)


def test_the_shipped_recipe_is_whole_and_for_every_family() -> None:
    recipe = load_recipe("mnist-universal")
    require_experiment(recipe)
    assert not learns_zoo(recipe)
    assert set(recipe.universal.families.weights) == {*TRAINED, *HELD_OUT}
    sizes = HypernetworkSizes(**recipe.generator.options)
    assert sizes == HypernetworkSizes(fixed_share=0.8)


def test_parts_that_do_not_fit_one_another_are_all_named() -> None:
    overrides = [
        "generator.options.heads=3",
        "training.budgets={trained: 1, long: 2}",
        "training.updates=0",
        "training.validate_every=1",
        "training.weight_decay=0.1",
        "universal.workers=9",
        "vary.learning_rate=[1e-3]",
        "zoo.folder=somewhere",
    ]
    with pytest.raises(BadInput) as caught:
        require_experiment(load_recipe("mnist-universal", overrides))
    for place in (
        "generator.options.heads: 3 does not divide the dim 128",
        "training.budgets: one length of training is wanted, not {trained: 1, long: 2}",
        "training.updates",
        "training.validate_every",
        "training.weight_decay: muon has none",
        "universal.workers: 9 share 6",
        "vary.learning_rate",
        "zoo.folder",
    ):
        assert place in caught.value.message
    with pytest.raises(BadInput, match=r"training\.budgets"):
        require_experiment(load_recipe("mnist-universal", ["training.budgets={trained: 0}"]))


def test_shares_of_noise_and_a_start_are_read_as_written() -> None:
    text = "universal: {start: runs/first/synthesizer}\ngenerator: {name: universal, options: {fixed_share: 0.25}}\n"
    recipe = parse_recipe(HEAD + text)
    assert recipe.universal.start == "runs/first/synthesizer"
    assert recipe.generator.options["fixed_share"] == 0.25
    assert load_recipe("mnist-universal").universal.start is None
    with pytest.raises(RecipeError, match="fixed_share"):
        parse_recipe(HEAD + text.replace("0.25", "1.5"))


def test_there_is_no_zoo_to_build() -> None:
    with pytest.raises(BadInput, match="'mnist-universal' has no zoo"):
        require_zoo(load_recipe("mnist-universal"))
    require_zoo(load_recipe("mnist-zoo"))


def test_a_dry_run_says_what_it_would_do_without_torch() -> None:
    code = (
        "import sys; from weightsmith.cli import main\n"
        "sys.argv = ['weightsmith', 'run', 'mnist-universal', '--dry-run', 'universal.families={mlp: 1, vit: 3}']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
    assert "# architectures: 1,200 of the splits training (mlp 25%, vit 75%)" in done.stdout
    assert "# training: 20,000 updates, 6 of them and up to 256 images in each" in done.stdout
