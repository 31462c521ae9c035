"""Commands on networks: sample them from a synthesizer, evaluate those that exist."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weightsmith.cli.app import app
from weightsmith.cli.documents import print_document
from weightsmith.cli.runs import Json, finish
from weightsmith.errors import BadInput, LayoutMismatch
from weightsmith.pretrained import PRETRAINED, SAMPLED, synthesizer_folder

if TYPE_CHECKING:
    from weightsmith.datasets import Dataset
    from weightsmith.layout import Weights
    from weightsmith.synthesizer import Synthesizer

Typed = Annotated[
    str | None,
    typer.Option(
        help="Name of the architecture: of checkpoint files, or a synthesizer's module:callable, to allow it."
    ),
]
Format = Annotated[str, typer.Option("--format", help="safetensors, pt or pth (a plain PyTorch state dict).")]


Steps = Annotated[int | None, typer.Option(min=1, help="Steps of the sampler; without it, the synthesizer's own.")]
Sampler = Annotated[str | None, typer.Option(help="ddpm, ddim, dpm-solver, euler, heun or flow-sde.")]
Guidance = Annotated[float | None, typer.Option(min=0, help="Classifier-free guidance; 1 is none.")]
Accuracy = Annotated[float | None, typer.Option(min=0, max=1, help="The accuracy to ask for, as 0.97.")]
Loss = Annotated[float | None, typer.Option(min=0, help="The cross-entropy to ask for, in nats.")]
AskedData = Annotated[str | None, typer.Option("--for-dataset", help="The data set to ask for, by name.")]
GivenLayers = Annotated[
    list[str] | None,
    typer.Option("--given", metavar="LAYER", help="A layer or tensor of --network to keep; repeat for more."),
]
GivenNetwork = Annotated[
    Path | None, typer.Option("--network", metavar="FILE", help="The checkpoint that --given layers are taken from.")
]


@app.command(short_help="Generate networks with a synthesizer.")
def sample(
    synthesizer: Annotated[
        str, typer.Argument(help=f"Folder of a synthesizer, or one that comes along: {', '.join(SAMPLED)}.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the weights, new or empty; samples without it.")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many networks.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of inits and noise.")] = 0,
    steps: Steps = None,
    sampler: Sampler = None,
    guidance: Guidance = None,
    accuracy: Accuracy = None,
    loss: Loss = None,
    for_dataset: AskedData = None,
    given: GivenLayers = None,
    network: GivenNetwork = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Measure them on test images; they are written only with --out.")
    ] = False,
    format: Format = "safetensors",
    architecture: Typed = None,
    as_json: Json = False,
) -> None:
    """Generate networks, and write each as a file that PyTorch or safetensors loads, or measure them."""
    from weightsmith.checkpoint import SUFFIXES, write_checkpoint
    from weightsmith.files import require_writable_folder
    from weightsmith.synthesizer import Synthesizer

    if f".{format}" not in SUFFIXES:
        raise BadInput(f"format {format!r}", f"use one of {', '.join(s[1:] for s in SUFFIXES)}")
    out = out or (None if evaluate else Path("samples"))
    if out is not None and out.is_dir() and any(out.iterdir()):
        raise BadInput(f"{out} is not empty", "choose a new folder with --out")
    loaded = Synthesizer.load(synthesizer_folder(synthesizer, SAMPLED), architecture)
    data = _made_with(loaded, for_dataset) if evaluate else None
    wanted = {"accuracy": accuracy, "loss": loss, "dataset": for_dataset, "sampler": sampler, "guidance": guidance}
    asked: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    asked |= _given(loaded, given or [], network)
    weights = loaded.sample(n, steps=steps, seed=seed, **asked)
    if out is not None:
        require_writable_folder(out)
        for i, state in enumerate(weights.states()):
            path = out / f"sample-{i:05d}.{format}"
            write_checkpoint(path, state)
            if not evaluate:
                typer.echo(path)
    if data is not None:
        _measure([f"sample {i}" for i in range(n)], weights, loaded.architecture, data, as_json)


def _given(synthesizer: Synthesizer, layers: Sequence[str], network: Path | None) -> dict[str, Any]:
    if not layers and network is None:
        return {}
    if network is None:
        raise BadInput(f"--given {layers[0]} without a network to take it from", "name a checkpoint with --network")
    _, weights = _checkpoints([network], synthesizer.architecture)
    return {"given": weights, "layers": layers}


@app.command(short_help="Measure a run, a synthesizer or checkpoints.")
def evaluate(
    target: Annotated[Path, typer.Argument(metavar="RUN|SYNTHESIZER|CHECKPOINTS", help="What to measure.")],
    dataset: Annotated[
        str | None, typer.Option(help="Data set; without it, that of the synthesizer, or mnist for checkpoints.")
    ] = None,
    for_dataset: AskedData = None,
    architecture: Typed = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Samples to draw from a synthesizer.")] = 8,
    steps: Steps = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the samples.")] = 0,
    as_json: Json = False,
) -> None:
    """Complete a run's evaluation; or measure samples of a synthesizer, or checkpoint files, on the test images."""
    if str(target) in PRETRAINED:
        target = synthesizer_folder(target)
    if not target.exists():
        raise BadInput(f"{target} does not exist", "give a run, a synthesizer, a checkpoint file or a folder of them")
    if for_dataset and not (target / "config.json").is_file():
        raise BadInput(f"--for-dataset {for_dataset} asks a synthesizer, and {target} is none", "leave it out")
    if (target / "run.json").is_file():
        finish(target, "report", as_json)
        return
    from weightsmith.architectures import Architecture
    from weightsmith.datasets import load_dataset
    from weightsmith.synthesizer import Synthesizer

    if (target / "config.json").is_file():
        loaded = Synthesizer.load(target, architecture)
        data = load_dataset(dataset) if dataset else _made_with(loaded, for_dataset)
        asked = {"dataset": for_dataset} if for_dataset else {}
        names, weights = [f"sample {i}" for i in range(n)], loaded.sample(n, steps=steps, seed=seed, **asked)
        _measure(names, weights, loaded.architecture, data, as_json)
        return
    paths = _checkpoint_paths(target)
    data = load_dataset(dataset or "mnist")
    form = Architecture(architecture or "target_cnn", data.input_shape, data.classes)
    names, weights = _checkpoints(paths, form)
    _measure(names, weights, form, data, as_json)


def _checkpoint_paths(target: Path) -> list[Path]:
    from weightsmith.checkpoint import SUFFIXES

    paths = [target] if target.is_file() else sorted(p for p in target.iterdir() if p.suffix in SUFFIXES)
    if not paths:
        raise BadInput(f"{target} holds no run, synthesizer or checkpoint", f"files end in {', '.join(SUFFIXES)}")
    return paths


def _checkpoints(paths: Sequence[Path], form: Any) -> tuple[list[str], Weights]:
    """Checkpoint files as weights of an architecture; casts are reported. A file that does not fit is named."""
    from weightsmith.checkpoint import conform, read_checkpoint

    states = []
    for path in paths:
        try:
            state, casts = conform(read_checkpoint(path), form.layout)
        except LayoutMismatch as error:
            raise LayoutMismatch(f"{path}: {error.message}", error.remedy) from None
        states.append(state)
        for cast in casts:
            typer.echo(f"{path.name}: cast {cast}", err=True)
    return [path.name for path in paths], form.layout.flatten(states)


def _made_with(synthesizer: Synthesizer, asked: str | None) -> Dataset:
    """The data that a synthesizer was made with, of several those that are asked for.

    Raises `BadInput` when it does not say, or they have changed, or none of several is asked for.
    """
    from weightsmith.datasets import DatasetRequest, load_dataset

    origin = synthesizer.provenance
    several = origin.get("data sets")
    if isinstance(several, list):
        known = {one["data set"]["name"]: one for one in several}
        if asked not in known:
            what = "none is asked for" if asked is None else f"{asked!r} is none of them"
            raise BadInput(
                f"the synthesizer was made with several data sets, and {what}",
                f"ask for one of {', '.join(known)} with --for-dataset",
            )
        origin = known[asked]
    wanted, fingerprint = origin.get("data set"), origin.get("data set fingerprint")
    if not isinstance(wanted, dict):
        raise BadInput("the synthesizer does not say which data set it was made with", "name one with --dataset")
    found = load_dataset(DatasetRequest(**wanted))
    if found.fingerprint != fingerprint:
        raise BadInput(
            f"data set {found.name!r} is not what it was made with", "restore it, or name one with --dataset"
        )
    return found


def _measure(names: list[str], weights: Weights, form: Any, data: Dataset, as_json: bool) -> None:
    from weightsmith.ensemble import choose_device, choose_precision, evaluate

    device = choose_device("auto")
    if (tuple(form.input_shape), form.classes) != (tuple(data.input_shape), data.classes):
        raise BadInput(
            f"the networks read images {list(form.input_shape)} of {form.classes} classes, "
            f"and {data.name} has images {list(data.input_shape)} of {data.classes}",
            "choose the data set that they were made for with --dataset",
        )
    precision = choose_precision("auto", device)
    found = evaluate(form.build(0), weights, data.test, precision=precision, device=device)
    rows: list[dict[str, Any]] = []
    for name, evaluation in zip(names, found, strict=True):
        finite = math.isfinite(evaluation.loss)
        numbers = {"accuracy": evaluation.accuracy, "loss": evaluation.loss} if finite else {}
        rows.append({"network": name, "accuracy": None, "loss": None, **numbers})
        if not finite:
            typer.echo(f"{name}: its outputs are not finite, so it has no accuracy", err=True)
    if as_json:
        measured = {"dataset": data.name, "split": "test", "images": len(data.test.images), "precision": precision}
        print_document("evaluation", measured, rows)
        return
    typer.echo(f"{len(data.test):,} test images of {data.name} ({precision})")
    for row in rows:
        if row["accuracy"] is not None:
            typer.echo(f"{row['network']}: accuracy {100 * row['accuracy']:.2f} %, loss {row['loss']:.4f}")
