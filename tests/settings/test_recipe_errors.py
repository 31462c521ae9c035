"""Every mistake in a recipe is reported at once, each with its path, its line and the nearest valid name."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from weightsmith.errors import RecipeError
from weightsmith.settings.loading import load_recipe, parse_recipe, shipped_names

HEAD = "name: a\ndescription: b\n"


def refused(text: str, overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "mine.yaml", overrides)
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_all_mistakes_at_once_with_their_lines() -> None:
    message = refused(
        """description: b
sed: 3
dataset: minst
zoo:
  rnus: 3
  epochs: 0

  learning_rate: "1e-3"
  optimizer: adm
  runs: true
codec: {name: flat, options: {standardize: off, standardise: 1}}
architecture:
  name: mlp
  options:
    hidden:
      - 8
      - -1
training:
  headline: nte
generator: [transition]
evaluation:
  inits: 1
""",
        ("zoo.foo=3", "evaluation.precision=fp16", "x"),
    )
    expected = [
        "holds 16 mistakes",
        "name (line 1): is missing",
        "sed (line 2): unknown key; the nearest is 'seed'",
        "dataset.name (line 3): found minst",
        "the nearest is 'mnist'",
        "zoo.rnus (line 5): unknown key; the nearest is 'runs'",
        "zoo.epochs (line 6): found 0, expected at least 1",
        "zoo.learning_rate (line 8): found '1e-3', expected a number; write 1e-3 without quotes",
        "zoo.optimizer (line 9): found adm, expected adam, sgd; the nearest is 'adam'",
        "zoo.runs (line 10): found true, expected an integer",
        "codec.options.standardize (line 11): unknown key; the nearest is 'standardise'",
        "codec.options.standardise (line 11): found 1, expected true or false",
        "architecture.options.hidden[1] (line 17): found -1, expected at least 1",
        "training.headline (line 19): found nte",
        "generator (line 20): found a list, expected a mapping",
        "evaluation.inits (line 22): found 1, expected at least 2",
        "zoo.foo (command line): unknown key",
        "evaluation.precision (command line): found fp16, expected auto, bf16, fp32",
        "command line: 'x' is not section.key=value",
    ]
    missing = [line for line in expected[1:] if line not in message]
    assert not missing, message
    assert f"holds {message.count('(line') + message.count('(command line)') + 1} mistakes" in message


@pytest.mark.parametrize(
    ("override", "path", "hint"),
    [
        ("zoo.rnus=3", "zoo.rnus", "'runs'"),
        ("zooo.runs=3", "zooo", "'zoo'"),
        ("codec.options.standardize=on", "codec.options.standardize", "known here: canonical, roles"),
        ("architecture.options.chanels1=3", "architecture.options.chanels1", "'channels1'"),
        ("seed.x=3", "seed", "expected an integer"),
        ("zoo.runs=", "zoo.runs", "found nothing"),
        ("zoo.runs=[", "zoo.runs", "not valid YAML"),
        ("zoo=fast", "zoo", "expected a mapping"),
        ("training.budgets={}", "training.budgets", "expected at least"),
        ("dataset=photos", "dataset.name", "./NAME"),
        ("architecture={name: cnn, options: {groups: 3}}", "architecture.options", "3 does not divide 32"),
        ("architecture={name: cnn, options: {kernel: 4}}", "architecture.options", "an odd kernel"),
        ("architecture={name: residual, options: {blocks: [2]}}", "architecture.options", "there are 2 and 1"),
        ("architecture={name: residual, options: {bottleneck: true, channels: [4, 8]}}", "options", "the fewest are 4"),
        ("architecture={name: residual, options: {group_width: 3}}", "options", "3 does not divide 32"),
        ("architecture={name: separable, options: {norm: group, channels: [6]}}", "options", "4 does not divide 6"),
        ("architecture={name: vit, options: {heads: 5}}", "architecture.options", "5 does not divide 64"),
        ("architecture={name: axial, options: {width: [5]}}", "architecture.options.width", "'widths'"),
    ],
)
def test_an_override_that_does_not_fit_names_its_path(override: str, path: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("mnist-trajectory", [override])
    assert f"{path} (command line)" in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "null", "---\n", "[1, 2]", "word", "'x'", "a: [", "a: b: c", "\t", "\0"]
)
def test_what_is_no_recipe_is_refused(text: str) -> None:
    refused(text)


def test_two_documents_are_refused() -> None:
    assert "second document" in refused(HEAD + "---\nname: c\n")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200), st.lists(st.text(max_size=30), max_size=2))
@example("? [a]\n: 3", [])
@example('name: "\\ud800"', ["=", "a..b=3"])
@example("%YAML 1.1\n---\n<<: {a: 1}", ["zoo.=1"])
def test_random_text_raises_nothing_else(text: str, overrides: list[str]) -> None:
    with pytest.raises(RecipeError):
        parse_recipe(text, "mine.yaml", overrides)


pieces = st.sampled_from(
    [
        "name",
        "zoo",
        "runs",
        ": ",
        "\n",
        "  ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        '"',
        "&a",
        "*a",
        "!!str ",
        "|",
        "#",
        "1",
        "? ",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(pieces, max_size=40).map("".join), st.sampled_from(shipped_names()))
def test_random_yaml_raises_nothing_else(text: str, name: str) -> None:
    for load in (
        lambda: parse_recipe(HEAD + text),
        lambda: load_recipe(name, [f"zoo={text}", f"codec.options={text}"]),
    ):
        with contextlib.suppress(RecipeError):
            load()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100))
def test_random_bytes_raise_nothing_else(tmp_path_factory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("recipe") / "mine.yaml"
    path.write_bytes(data)
    with pytest.raises(RecipeError):
        load_recipe(str(path))
