"""Recipes load, with overrides, and write out to text that loads back equal."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.errors import RecipeError
from weightsmith.settings.describing import describe_settings
from weightsmith.settings.dumping import dump_recipe, recipe_differences
from weightsmith.settings.loading import list_recipes, load_recipe, parse_recipe, shipped_names
from weightsmith.settings.recipe import CodecSettings, Recipe, TrainingSettings, ZooSettings
from weightsmith.settings.sections import ArchitectureSettings, DatasetSettings, NamedSettings, Settings

HEAD = "name: a\ndescription: b\n"


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_recipe_loads_under_its_own_name(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert (name, recipe.description) in list_recipes()
    assert parse_recipe(dump_recipe(recipe)) == recipe


def test_the_first_recipe_is_the_defaults_written_out() -> None:
    shipped = load_recipe("mnist-trajectory")
    assert shipped == Recipe(name=shipped.name, description=shipped.description)


def test_the_dense_recipe_is_the_note_s_model() -> None:
    recipe = load_recipe("mnist-trajectory-dense")
    options = {"canonical": False, "roles": None, "standardise": False}
    assert (recipe.codec.name, recipe.codec.options) == ("flat", options)
    assert (recipe.zoo.runs, recipe.training.budgets) == (3, {"note": 50})


def test_bare_names_stand_for_sections() -> None:
    recipe = parse_recipe(HEAD + "codec: flat\narchitecture: mlp\ndataset: ./photos\n")
    assert recipe.codec == CodecSettings(name="flat")
    assert recipe.codec.options == {"canonical": False, "roles": None, "standardise": True}
    assert recipe.architecture.options == {"hidden": [32, 32], "activation": "relu", "norm": "none"}
    assert recipe.dataset.name == "./photos"


def test_options_of_a_user_s_architecture_are_free() -> None:
    recipe = parse_recipe(
        HEAD + "architecture: {name: 'my.nets:build', options: {width: 3, deep: [1e-3, yes_, ~, true]}}"
    )
    assert recipe.architecture.options == {"width": 3, "deep": [1e-3, "yes_", None, True]}


def test_an_empty_section_is_its_defaults() -> None:
    recipe = parse_recipe(HEAD + "zoo:\n  # runs: 7\ncodec:\ngenerator:\n  options:\n")
    assert recipe == Recipe(name="a", description="b")


def test_overrides_nest_and_later_ones_win() -> None:
    recipe = load_recipe(
        "mnist-trajectory",
        [
            "zoo.runs=4",
            "zoo.runs=6",
            "dataset=digits",
            "training.budgets.short=7",
            "zoo={epochs: 9}",
            "generator.options.layers=3",
            "seed=11",
            "device=cpu",
        ],
    )
    assert (recipe.zoo.runs, recipe.zoo.epochs, recipe.zoo.batch_size) == (6, 9, 128)
    assert recipe.dataset == DatasetSettings(name="digits")
    assert recipe.training.budgets["short"] == 7
    assert recipe.training.budgets["note"] == 50
    assert recipe.generator.options == {"time_embedding": 128, "hidden": 512, "layers": 3}
    assert (recipe.seed, recipe.device) == (11, "cpu")


def test_a_mapping_given_whole_replaces() -> None:
    recipe = load_recipe("mnist-trajectory", ["training.budgets={note: 2}"])
    assert recipe.training.budgets == {"note": 2}


def test_every_codec_is_written_with_all_its_options() -> None:
    text = (
        HEAD + "codec: {name: autoencoder, options: {roles: [weight, bias], width: null, hidden: [8, 4], noise: 1e-1}}"
    )
    codec = parse_recipe(text).codec
    assert codec.options["roles"] == ["weight", "bias"]
    assert (codec.options["width"], codec.options["hidden"], codec.options["noise"]) == (None, [8, 4], 0.1)
    assert parse_recipe(HEAD + "codec: {name: pca, options: {components: 12}}").codec.options["components"] == 12


@pytest.mark.parametrize("override", ["codec=span", "codec.name=span"])
def test_a_new_name_drops_the_file_s_options_but_not_the_command_line_s(override: str) -> None:
    assert load_recipe("mnist-trajectory-dense", [override]).codec == CodecSettings(name="span")
    mlp = load_recipe("mnist-trajectory", ["architecture.options.activation=tanh", "architecture=mlp"])
    assert mlp.architecture == ArchitectureSettings(name="mlp", options={"activation": "tanh"})


def test_an_override_reaches_into_a_section_written_as_its_name() -> None:
    recipe = load_recipe("mnist-trajectory-dense", ["architecture.options.hidden=16"])
    assert recipe.architecture == ArchitectureSettings(name="target_cnn", options={"hidden": 16})


def test_differences_name_the_setting_and_both_values() -> None:
    old = load_recipe("mnist-trajectory")
    new = load_recipe("mnist-trajectory", ["zoo.runs=5", "training.budgets={note: 50}"])
    assert recipe_differences(old, old) == []
    assert recipe_differences(old, new) == [
        "zoo.runs: 3 -> 5",
        "training.budgets.untrained: 0 -> (not set)",
        "training.budgets.converged: 500 -> (not set)",
    ]


def test_every_setting_has_a_sentence() -> None:
    def models(model: type[Settings]) -> list[type[Settings]]:
        return [model, *(inner for child in model.__subclasses__() for inner in models(child))]

    for model in models(Settings):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            assert field.description.endswith("."), f"{model.__name__}.{name}"
    assert NamedSettings in models(Settings)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe(name="a", description="b").seed = 3  # type: ignore[misc]


words = st.text(max_size=12)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
printable = words.filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))


folder_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@settings(max_examples=100, deadline=None)
@given(
    name=folder_names,
    description=printable,
    rate=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    budgets=st.dictionaries(folder_names, st.integers(0, 9999), min_size=1, max_size=4),
    options=st.dictionaries(printable, values, max_size=4),
)
def test_what_is_dumped_loads_back_equal(name, description, rate, budgets, options) -> None:
    recipe = Recipe(
        name=name,
        description=description,
        zoo=ZooSettings(learning_rate=rate),
        training=TrainingSettings(budgets=budgets, headline=next(iter(budgets))),
        architecture=ArchitectureSettings(name="m:f", options=options),
    )
    assert parse_recipe(dump_recipe(recipe)) == recipe


def test_nothing_here_imports_torch() -> None:
    code = (
        "import sys\n"
        "from weightsmith.settings import architectures, dumping, loading, registry\n"
        "loading.list_recipes(); loading.load_recipe('mnist-trajectory', ['zoo.runs=2'])\n"
        "try: loading.load_recipe('mnist-trajectory', ['zoo.rnus=2'])\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["RecipeError", "False"]


def test_a_file_is_read_and_a_missing_one_named(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD, encoding="utf-8-sig")
    assert load_recipe(str(path)).name == "a"
    with pytest.raises(RecipeError, match="mnist-trajectory'"):
        load_recipe("mnist-trajectroy")
    with pytest.raises(RecipeError, match="No such file"):
        load_recipe(str(tmp_path / "other.yaml"))
    with pytest.raises(RecipeError, match="cannot read"):
        load_recipe(str(tmp_path) + "/")


def test_the_largest_seed_is_read() -> None:
    assert parse_recipe(HEAD + f"seed: {2**63 - 1}").seed == 2**63 - 1


def test_every_setting_has_a_sentence_and_is_a_key_of_recipes() -> None:
    lines = describe_settings()
    assert all(line.meaning.endswith(".") for line in lines)
    written = {line.path for line in lines}
    assert {"zoo.epochs", "training.budgets", "codec.options.standardise", "device"} <= written


@pytest.mark.parametrize("override", ["name=../../elsewhere", "training.budgets={../../evil: 0}", "name=.hidden"])
def test_names_of_folders_are_no_paths(override: str) -> None:
    with pytest.raises(RecipeError):
        load_recipe("mnist-trajectory", [override])
