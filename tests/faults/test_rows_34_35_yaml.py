"""Faults 34, 35: hostile YAML is refused in bounded time and memory; ambiguous YAML is what was meant, or refused."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from weightsmith.errors import RecipeError
from weightsmith.settings.loading import load_recipe, parse_recipe

HEAD = "name: a\ndescription: b\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def refused(text: str, overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "mine.yaml", overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        '!!python/object/apply:os.system ["touch {0}"]',
        "!!python/name:os.system",
        "!!python/object/new:os.system {{args: ['touch {0}']}}",
        "!!timestamp 2020-01-01",
        "!!binary aGk=",
        "!mine x",
        "! x",
        "!!set {{a}}",
        "!!map x",
    ],
)
def test_tags_are_refused_with_their_line_and_nothing_runs(tmp_path, value: str) -> None:
    trace = tmp_path / "trace"
    message = refused(HEAD + f"seed: 0\nzoo:\n  runs: {value.format(trace)}\n")
    assert "zoo.runs (line 5): tag !" in message
    assert not trace.exists()
    assert "zoo.runs (command line): tag !" in refused(HEAD, (f"zoo.runs={value.format(trace)}",))
    assert not trace.exists()


def test_core_tags_mean_what_they_say() -> None:
    recipe = parse_recipe("name: !!str 5\ndescription: b\nseed: !!int 3\nzoo: !!map {runs: 2}\n")
    assert (recipe.name, recipe.seed, recipe.zoo.runs) == ("5", 3, 2)


def test_the_alias_bomb_is_refused_at_once_in_bounded_memory(tmp_path) -> None:
    assert len(BOMB) < 480
    path = tmp_path / "bomb.yaml"
    path.write_text(HEAD + BOMB)
    code = (
        "import resource, sys, time\n"
        "from weightsmith.settings.loading import load_recipe\n"
        "before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()\n"
        "try: load_recipe(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, '*a is refused' in str(error))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, time.process_time() - start < 5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["RecipeError", "True", "True", "True"]


@pytest.mark.parametrize("unit", ["[", "[\n", "- ", "{a: ", "? "])
def test_deep_nesting_is_refused_at_once(unit: str) -> None:
    start = time.process_time()
    assert "nested deeper than 50" in refused(unit * (900_000 // len(unit)))
    assert time.process_time() - start < 5


def test_too_large_is_refused_unread(tmp_path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(RecipeError, match="larger than 1000000 bytes"):
        load_recipe(str(path))
    assert "more than 20000 values" in refused("a: [" + "1," * 100_000 + "]")


def test_duplicate_keys_are_refused_with_both_lines() -> None:
    message = refused(HEAD + "zoo:\n  runs: 3\n  epochs: 2\n  runs: 4\n")
    assert "zoo.runs (line 6): key 'runs' is given twice, first on line 4" in message
    assert "twice" in refused(HEAD, ("zoo={runs: 1, runs: 2}",))


@pytest.mark.parametrize("written", ["1e-3", "1E-3", ".001", "0.001", "+1.0e-03"])
def test_floats_are_floats(written: str) -> None:
    assert parse_recipe(HEAD + f"zoo: {{learning_rate: {written}}}").zoo.learning_rate == 1e-3


def test_an_integer_is_fine_for_a_float() -> None:
    rate = parse_recipe(HEAD + "zoo: {learning_rate: 1}").zoo.learning_rate
    assert (rate, type(rate)) == (1.0, float)


@pytest.mark.parametrize(
    ("written", "remedy"),
    [
        ("012", "write 12"),
        ("0o17", "write 15"),
        ("0x1F", "write 31"),
        ("0b101", "write 5"),
        ("1_000", "write 1000"),
        ("1:30", ""),
        ("190:20:30", ""),
        ("5.0", "write 5"),
        ("1e3", "write 1000"),
        ('"5"', "write 5 without quotes"),
        ("'5'", "write 5 without quotes"),
        ("true", ""),
        ("no", ""),
        (".nan", ""),
        (".inf", ""),
        ("", ""),
        ("~", ""),
        ("[5]", ""),
        ("9" * 5000, ""),
        ("0" * 5000 + "1", ""),
    ],
)
def test_an_integer_is_only_ever_a_decimal_integer(written: str, remedy: str) -> None:
    message = refused(HEAD + f"zoo:\n  epochs: 2\n  runs: {written}\n")
    assert "zoo.runs (line 5): found" in message
    assert f"expected an integer{'; ' + remedy if remedy else ''}" in message


@pytest.mark.parametrize(
    "written", [".nan", ".inf", "-.inf", ".NaN", "1e999", "nan", "inf", "012.5", "1_0.5", '"1e-3"']
)
def test_a_float_is_only_ever_a_finite_number(written: str) -> None:
    assert "zoo.learning_rate (line 4): found" in refused(HEAD + f"zoo:\n  learning_rate: {written}\n")


@pytest.mark.parametrize(
    ("written", "meant"), [("no", False), ("off", False), ("No", False), ("yes", True), ("ON", True), ("true", True)]
)
def test_yes_and_no_are_truths_where_a_truth_is_expected(written: str, meant: bool) -> None:
    text = f"codec: {{name: flat, options: {{standardise: {written}}}}}"
    assert parse_recipe(HEAD + text).codec.options["standardise"] is meant


@pytest.mark.parametrize("written", ["no", "off", "yes", "012", "1e-3", "1:30", "true", "2020-01-01"])
def test_text_is_text_where_text_is_expected(written: str) -> None:
    recipe = parse_recipe(f"name: a\ndescription: {written}\n")
    assert recipe.description == written


@pytest.mark.parametrize("written", ["no", "012", "1_000", "1:30", ".inf", "0x10"])
def test_where_no_type_is_known_an_ambiguous_word_is_refused(written: str) -> None:
    text = "architecture:\n  name: m:f\n  options:\n    x: "
    assert "architecture.options.x (line 6): found" in refused(HEAD + text + written)
    assert parse_recipe(HEAD + text + f"'{written}'").architecture.options == {"x": written}
