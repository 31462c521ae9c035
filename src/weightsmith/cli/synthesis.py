"""The command that writes weights for any module."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weightsmith.cli.app import app
from weightsmith.cli.documents import print_document
from weightsmith.cli.outputs import network_files, require_new_picture, write_networks
from weightsmith.cli.runs import Json
from weightsmith.cli.typed import read_typed
from weightsmith.errors import BadInput, EnvironmentFault, WeightsmithError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from weightsmith.datasets import Split
    from weightsmith.universal import Coverage, Synthesis, UniversalSynthesizer

OptionTexts = Annotated[
    list[str] | None,
    typer.Option("--options", "--option", metavar="KEY=VALUE", help="Keyword arguments of MODULE, as width=64."),
]
InputShape = Annotated[
    str | None,
    typer.Option(
        metavar="SIZES", help="Shape in which it reads an image, where not as in the data set: 784, or 28,28."
    ),
]
Picture = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Draw the graph that was read, too: a new file, .png or .svg.")
]


Module = Annotated[str, typer.Argument(metavar="MODULE", help="package.module:callable, or a registered name: mlp.")]
More = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="More keyword arguments, as after --options.")
]
For = Annotated[
    str | None, typer.Option(help="What the weights are for; without it, what the synthesizer was trained for.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="NAME.safetensors (with -n, NAME-00000.safetensors and so on), or a new folder; weights.safetensors.",
    ),
]
Count = Annotated[
    int | None, typer.Option("-n", min=1, help="How many different networks; 1, or one for each --start.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the noise, or of the initialisations to start from.")]
Starts = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="Weights of MODULE to begin at, .safetensors, .pt or .pth, for a synthesizer that reads them; again "
        "for another network. Without it, such a one begins at standard initialisations.",
    ),
]
Evaluate = Annotated[
    bool, typer.Option("--evaluate", help="Measure them on test images; they are written only with --out.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse what is not understood or beyond the trained range.")]
Folder = Annotated[
    str | None, typer.Option(metavar="FOLDER", help="A trained one, by its folder or name; else the shipped one.")
]
Recalibrate = Annotated[
    bool, typer.Option(help="Measure running statistics of normalisation layers on training images.")
]
Check = Annotated[
    bool, typer.Option(help="Say how many of some training images the networks get right, and warn of bad ones.")
]


@app.command(short_help="Write weights for any module, without training it.")
def synthesize(
    module: Module,
    more: More = None,
    dataset: For = None,
    out: Out = None,
    n: Count = None,
    seed: Seed = 0,
    start: Starts = None,
    evaluate: Evaluate = False,
    strict: Strict = False,
    synthesizer: Folder = None,
    recalibrate: Recalibrate = True,
    check: Check = True,
    options: OptionTexts = None,
    input_shape: InputShape = None,
    picture: Picture = None,
    as_json: Json = False,
) -> None:
    """Write weights for any torch.nn.Module, never seen before and without training it, as its own state dict.

    MODULE is called with the options, and only because you name it. What was understood of it is printed.
    """
    shape = _sizes(input_shape)
    out = out or (None if evaluate else Path("weights.safetensors"))
    count = _count(n, start or [])
    files = [] if out is None else network_files(out, count)
    if picture is not None:
        require_new_picture(picture)
    typed = read_typed(module, [*(options or ()), *(more or ())], None)
    from weightsmith.universal import synthesizer_for

    chosen = synthesizer_for(dataset, synthesizer)
    starts = _starts(chosen, start or [])
    built = _built(typed, chosen.covers)
    test = _test_images(chosen.covers) if evaluate else None
    reading = chosen.read(built, dataset=dataset, strict=strict, input_shape=shape)
    found = chosen.write(reading, count, seed, recalibrate=recalibrate, check=check, start=starts)
    rows = _rows(count, start=start, training_accuracy=found.training_accuracies, file=files)
    measured = {} if test is None else _measured(found, test, rows)
    if out is not None:
        write_networks(out, files, found.networks)
    if picture is not None:
        _draw(found, picture, module)
    if as_json:
        print_document("synthesis", _headline(found, chosen.covers, count, seed) | measured, rows)
        return
    for line in (*found.lines, *map(_line, rows), *([] if picture is None else [f"graph: {picture}"])):
        typer.echo(line)


def _rows(count: int, **known: Sequence[Any] | None) -> list[dict[str, Any]]:
    """A row a network, with what is known of each."""
    rows: list[dict[str, Any]] = [{"network": i} for i in range(count)]
    for name, values in known.items():
        for row, value in zip(rows, values or (), strict=False):
            row[name] = str(value) if isinstance(value, Path) else value
    return rows


def _count(n: int | None, start: Sequence[Path]) -> int:
    if n is not None and start and n != len(start):
        raise BadInput(
            f"-n {n} for {len(start)} of --start: each start gives one network", "give as many starts, or leave -n out"
        )
    return n or len(start) or 1


def _starts(chosen: UniversalSynthesizer, files: Sequence[Path]) -> list[dict[str, Tensor]] | None:
    """The state dicts in these files, which are read without executing anything; nothing where there are none."""
    from weightsmith.checkpoint import read_checkpoint

    chosen.require_reads_starts(bool(files))
    return [read_checkpoint(file) for file in files] or None


def _sizes(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise BadInput(f"--input-shape {text} is not a shape", "write sizes with commas between them, as 1,28,28")
    return tuple(int(part) for part in parts)


def _built(typed: Any, covers: Coverage) -> nn.Module:
    """The module that was asked for. Whatever its own code raises is the user's to hear, without a traceback."""
    from weightsmith.architectures import Architecture

    wanted = typed.architecture
    form = Architecture(wanted.name, covers.input_shape, covers.classes, wanted.options)
    try:
        return form.build(0)
    except WeightsmithError:
        raise
    except Exception as error:
        raise BadInput(
            f"{wanted.name} with options {dict(wanted.options)} raises {type(error).__name__}: {error}",
            "check the options, or correct the code that it names",
        ) from error


def _test_images(covers: Coverage) -> Split:
    """What networks are measured on, before any work is done. Raises `EnvironmentFault` where it cannot be had."""
    from weightsmith.datasets import load_dataset

    try:
        return load_dataset(covers.request).test
    except EnvironmentFault as error:
        raise EnvironmentFault(
            error.message, "set WEIGHTSMITH_DATA_DIR to a folder that holds it, or leave --evaluate out"
        ) from error


def _measured(found: Synthesis, test: Split, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Fill in accuracies and losses on test images, and those before statistics were recalibrated."""
    from weightsmith.ensemble import choose_device

    device = choose_device("auto")
    states = {"": found.networks} | ({"_before_recalibration": found.as_generated} if found.recalibrated else {})
    for suffix, networks in states.items():
        for row, one in zip(rows, found.evaluate(test, networks, device), strict=True):
            finite = math.isfinite(one.loss)
            row[f"accuracy{suffix}"] = one.accuracy if finite else None
            row[f"loss{suffix}"] = one.loss if finite else None
    return {"split": "test", "images": len(test), "precision": "fp32"}


def _draw(found: Synthesis, picture: Path, title: str) -> None:
    from weightsmith.report.graph import picture as draw

    draw(found.reading.graph, picture, title=title)


def _headline(found: Synthesis, covers: Coverage, n: int, seed: int) -> dict[str, Any]:
    reading = found.reading
    return {
        "module": reading.name,
        "dataset": covers.dataset,
        "networks": n,
        "seed": seed,
        "operations": len(reading.graph.operations),
        "generated": list(reading.generated),
        "not_generated": [
            {"tensor": one.tensor, "reason": one.reason, "source": one.source} for one in reading.untouched
        ],
        "not_understood": list(reading.graph.not_understood),
        "beyond_training": [
            {"what": one.what, "trained": one.trained, "tensors": list(one.tensors)} for one in reading.excess
        ],
        "recalibrated": found.recalibrated,
        "warnings": list(found.warnings),
    }


def _line(row: dict[str, Any]) -> str:
    parts = [f"from {row['start']}"] if "start" in row else []
    parts += [str(row["file"])] if "file" in row else []
    if "training_accuracy" in row:
        parts.append(f"{100 * row['training_accuracy']:.1f} % of training images right")
    if "accuracy" in row:
        parts.append(_said(row["accuracy"], row["loss"]))
    if "accuracy_before_recalibration" in row:
        before = _said(row["accuracy_before_recalibration"], row["loss_before_recalibration"])
        parts.append(f"before recalibration: {before}")
    return f"network {row['network']}: {'; '.join(parts)}"


def _said(accuracy: float | None, loss: float | None) -> str:
    if accuracy is None or loss is None:
        return "its outputs are not finite, so it has no accuracy"
    return f"accuracy {100 * accuracy:.2f} %, loss {loss:.4f}"
