"""What differs from run to run: drawn by number and name alone, and refused with its place where it makes no sense."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightsmith.errors import RecipeError
from weightsmith.settings.dumping import dump_recipe
from weightsmith.settings.loading import load_recipe, parse_recipe
from weightsmith.settings.recipe import Recipe
from weightsmith.settings.vary import settings_of_run

HEAD = "name: a\ndescription: b\narchitecture: {name: mlp}\nvary:\n"
VARIED = (
    HEAD
    + """\
  dataset: [mnist, {name: digits, image_size: 8}]
  architecture:
    - {name: mlp, options: {hidden: [16]}}
    - mlp
  options: {activation: [relu, gelu]}
  optimizer: [adam, sgd]
  batch_size: [32, 64, 128]
  learning_rate: {low: 1e-4, high: 1e-2, scale: log}
  weight_decay: [0, 1e-4]
  momentum: {low: 0.5, high: 0.95}
"""
)


def with_vary(text: str) -> Recipe:
    return parse_recipe(HEAD + text)


def test_every_setting_is_drawn_from_what_is_stated() -> None:
    drawn = [settings_of_run(parse_recipe(VARIED), run) for run in range(300)]
    assert {one.dataset.name for one in drawn} == {"mnist", "digits"}
    assert {(tuple(one.architecture.options["hidden"]), one.architecture.options["activation"]) for one in drawn} == {
        (hidden, activation) for hidden in ((16,), (32, 32)) for activation in ("relu", "gelu")
    }
    assert {one.optimizer for one in drawn} == {"adam", "sgd"}
    assert {one.batch_size for one in drawn} == {32, 64, 128}
    assert {one.weight_decay for one in drawn} == {0.0, 1e-4}
    assert all(0.5 <= one.momentum < 0.95 for one in drawn)
    below = sum(one.learning_rate < 1e-3 for one in drawn)
    assert 120 < below < 180, "the middle of the logarithms"
    assert all(1e-4 <= one.learning_rate < 1e-2 for one in drawn)


def test_a_run_draws_the_same_whatever_else_is_varied_and_however_many_runs_there_are() -> None:
    alone = with_vary("  learning_rate: {low: 1e-4, high: 1e-2, scale: log}\n")
    among = parse_recipe(VARIED, overrides=["zoo.runs=5000"])
    assert [settings_of_run(alone, run).learning_rate for run in range(20)] == [
        settings_of_run(among, run).learning_rate for run in range(20)
    ]
    other = parse_recipe(VARIED, overrides=["seed=1"])
    assert settings_of_run(other, 3) != settings_of_run(among, 3)


def test_what_is_not_varied_is_as_in_the_other_sections() -> None:
    recipe = with_vary("  optimizer: [sgd]\n")
    drawn = settings_of_run(recipe, 7)
    zoo = recipe.zoo
    assert (drawn.dataset, drawn.architecture) == (recipe.dataset, recipe.architecture)
    assert (drawn.batch_size, drawn.learning_rate, drawn.momentum) == (zoo.batch_size, zoo.learning_rate, zoo.momentum)
    assert recipe.vary.named == ["optimizer"]


def test_it_is_written_and_read_back() -> None:
    assert parse_recipe(dump_recipe(parse_recipe(VARIED))) == parse_recipe(VARIED)
    changed = parse_recipe(VARIED, overrides=["vary.learning_rate=[1e-3, 1e-2]", "vary.dataset=null"])
    assert changed.vary.learning_rate is not None
    assert (changed.vary.learning_rate.choices, changed.vary.dataset) == ([1e-3, 1e-2], None)


@given(st.integers(1, 50), st.integers(0, 60), st.sampled_from(["linear", "log"]), st.integers(0, 10**6))
def test_whole_ends_give_whole_numbers_between_them(low: int, width: int, scale: str, run: int) -> None:
    high = low + width + 1
    recipe = with_vary(
        f"  architecture: [target_cnn]\n  options: {{channels1: {{low: {low}, high: {high}, scale: {scale}}}}}\n"
    )
    channels = settings_of_run(recipe, run).architecture.options["channels1"]
    assert isinstance(channels, int)
    assert low <= channels <= high


def test_both_whole_ends_are_drawn() -> None:
    recipe = with_vary("  architecture: [target_cnn]\n  options: {hidden: {low: 3, high: 5, scale: log}}\n")
    assert {settings_of_run(recipe, run).architecture.options["hidden"] for run in range(100)} == {3, 4, 5}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dataset: [mnst]", r"vary.dataset\[0\].name \(line 5\): found mnst.*the nearest is 'mnist'"),
        ("dataset: []", r"vary.dataset \(line 5\): found a list, expected at least this long: 1"),
        ("optimizer: adam", r"vary.optimizer \(line 5\): found adam, expected a list"),
        (
            "optimizer: [adamm]",
            r"vary.optimizer\[0\] \(line 5\): found adamm, expected adam, sgd; the nearest is 'adam'",
        ),
        ("batch_size: [0, 12]", r"vary.batch_size\[0\] \(line 5\): found 0, expected at least 1"),
        ("epochs: [1, 2]", r"vary.epochs \(line 5\): unknown key"),
        ("learning_rate: {low: 1e-2, high: 1e-4}", r"vary.learning_rate \(line 5\).*low the smaller"),
        ("learning_rate: {low: 1e-2}", r"expected low and high"),
        ("learning_rate: {low: 0, high: 1, scale: log}", r"above 0 on a logarithmic scale"),
        ("learning_rate: {low: 0, high: 1}", r"expected values that learning_rate may have; 0 is none"),
        ("learning_rate: []", r"expected a list of values, or low and high"),
        ("learning_rate: {choices: [1e-3], low: 1e-4}", r"expected a list of values, or low and high"),
        ("learning_rate: {low: 1e-4, high: 1e-2, scale: lg}", r"found lg, expected linear, log; the nearest is 'log'"),
        ("weight_decay: [no]", r"vary.weight_decay\[0\] \(line 5\): found no, expected a number"),
        ("weight_decay: [-1]", r"expected values that weight_decay may have; -1 is none"),
        ("momentum: [0, 1.5]", r"1.5 is none"),
        ("options: {hiden: [[8]]}", r"vary.options.hiden \(line 5\).*mlp"),
        ("options: {hidden: [8]}", r"vary.options.hidden \(line 5\).*expected what mlp takes; 8"),
        ("options: {hidden: 8}", r"expected a list of values, or a mapping of low, high and scale"),
        ("options: {hidden: {low: 3, high: 2}}", r"low the smaller"),
    ],
)
def test_mistakes_are_named_with_their_place(line: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        with_vary(f"  {line}\n")


def test_shares_of_a_range_are_exact() -> None:
    spread = with_vary("  learning_rate: {low: 1e-4, high: 1e-2, scale: log}\n").vary.learning_rate
    assert spread is not None
    assert spread.at(0.0) == pytest.approx(1e-4)
    assert spread.at(0.5) == pytest.approx(1e-3)
    assert math.log(spread.at(0.25)) == pytest.approx(math.log(1e-4) + 0.25 * math.log(100))


def test_the_shipped_zoos_vary() -> None:
    assert load_recipe("mnist-zoo").vary.named
