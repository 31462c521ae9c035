"""Commands on zoos: list, show, verify, export, import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weightsmith.cli.documents import print_document
from weightsmith.cli.resuming import resumable
from weightsmith.cli.runs import Json, zoo_app
from weightsmith.cli.typed import read_typed

if TYPE_CHECKING:
    from weightsmith.architectures import Architecture
    from weightsmith.datasets import Dataset
    from weightsmith.settings.recipe import Recipe
    from weightsmith.zoo import ImportReport, Row, Source

ZooPath = Annotated[Path, typer.Argument(metavar="ZOO", help="Folder of a zoo: a run's zoo/ or samples/.")]
Where = Annotated[
    str | None,
    typer.Option("--where", help="A condition on metrics and other columns, as 'accuracy > 0.95 and step = 5'."),
]
Form = Annotated[
    str, typer.Option("--layout", metavar="LAYOUT", help="How they lie there: files, ray-tune, arrays; auto looks.")
]
Key = Annotated[str | None, typer.Option(help="Where in a .pt the state dict is, as model_state_dict or state.model.")]
Strip = Annotated[str, typer.Option(metavar="PREFIX", help="A prefix to take off the names of tensors, as 'module.'.")]
TablePath = Annotated[
    Path | None,
    typer.Option(
        "--table", metavar="CSV", help="States run, step, seed, metrics of each file, named in column 'file'."
    ),
]
PatternText = Annotated[
    str | None, typer.Option("--pattern", help="What paths state, as 'run_{run}/epoch_{step}-acc{accuracy}.pt'.")
]
IgnoreUnmatched = Annotated[
    bool, typer.Option("--ignore-unmatched", help="Leave out files that the table or pattern does not describe.")
]
ArchitectureName = Annotated[
    str | None,
    typer.Option("--architecture", metavar="NAME", help="What all must fit: a registered name or module:callable."),
]
ArchitectureOptions = Annotated[
    list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="Of the architecture, as hidden=[8]; repeat.")
]
DatasetName = Annotated[
    str | None,
    typer.Option("--dataset", metavar="NAME", help="What they were trained on; with an architecture, else mnist."),
]
Evaluate = Annotated[bool, typer.Option("--evaluate", help="Measure accuracy and loss on the validation images.")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out files that are damaged or do not fit, and say which.")
]


@zoo_app.command("list")
def zoo_list(zoo: ZooPath, where: Where = None, as_json: Json = False) -> None:
    """The networks of a zoo, one line each."""
    from weightsmith.zoo import Zoo
    from weightsmith.zoo.cells import run_to_text

    rows = Zoo.open(zoo).select(where=where)
    shown = [_entry(row) for row in rows]
    if as_json:
        print_document("zoo", {"networks": len(shown)}, shown)
        return
    for entry in shown:
        numbers = "  ".join(f"{k} {v:.4f}" for k, v in entry.items() if isinstance(v, float))
        typer.echo(f"run {run_to_text(entry['run'])}  step {entry['step']}  {numbers}".rstrip())
    typer.echo(f"{len(shown)} networks")


@zoo_app.command("show", short_help="What a zoo holds, or one of its runs in detail.")
def zoo_show(
    zoo: ZooPath,
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Show this run, step by step.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """What a zoo holds: networks, layouts, accuracies, what diverged and was quarantined; or one run, step by step."""
    from weightsmith.zoo import Zoo
    from weightsmith.zoo.run_summary import find_run, run_lines, summarise_run
    from weightsmith.zoo.summary import summarise, summary_lines

    opened = Zoo.open(zoo)
    rows = None if where is None else opened.select(where=where)
    if run is not None:
        found = summarise_run(opened, find_run(opened, run), rows)
        headline = {"run": found.run, "seed": found.seed, "settings": found.settings, "extra": found.extra}
        entries = [{**_entry(row), "layout": row.layout, "extra": row.extra} for row in found.rows]
        _print("zoo run", headline, entries, run_lines(found), as_json)
        return
    summary = summarise(opened, rows)
    document = {**asdict(summary), "path": summary.path.name}
    document["diverged"] = [{"run": name, "reason": reason} for name, reason in summary.diverged.items()]
    _print("zoo summary", document, document.pop("groups"), summary_lines(summary), as_json)


@zoo_app.command("verify")
def zoo_verify(zoo: ZooPath) -> None:
    """Read every byte of a zoo and check every hash."""
    from weightsmith.zoo import Zoo

    found = Zoo.open(zoo).verify()
    typer.echo(f"whole: {found.rows} networks in {found.segments} segments, {found.bytes / 1e6:.1f} MB")


@zoo_app.command("export", short_help="Write networks of a zoo as plain files.")
def zoo_export(
    zoo: ZooPath,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the files, new or empty; or a file NAME.parquet.")
    ],
    where: Where = None,
    format: Annotated[
        str,
        typer.Option("--format", help="safetensors, pt or pth: a file a network; parquet: one table of all."),
    ] = "safetensors",
) -> None:
    """Write networks of a zoo as plain files, with a table of what they are."""
    from weightsmith.zoo import Zoo

    opened = Zoo.open(zoo)
    rows = opened.select(where=where)
    paths = opened.export(out, format, rows)
    if format == "parquet":
        typer.echo(f"{len(rows)} networks in {', '.join(str(path) for path in paths)}")
    else:
        typer.echo(f"{len(paths)} files in {out}")


@zoo_app.command("import", short_help="Make a zoo of networks that exist.")
def zoo_import(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder that the networks lie in.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="ZOO", help="The zoo: new, or one to add to.")],
    layout: Form = "auto",
    key: Key = None,
    strip: Strip = "",
    table: TablePath = None,
    pattern: PatternText = None,
    ignore_unmatched: IgnoreUnmatched = False,
    architecture: ArchitectureName = None,
    option: ArchitectureOptions = None,
    dataset: DatasetName = None,
    evaluate: Evaluate = False,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Make a zoo of checkpoints, or add them to one. The same command again goes on where it stopped."""
    typed = read_typed(architecture, option or [], dataset)
    from weightsmith.zoo import open_source

    how = {"table": table, "pattern": pattern, "ignore_unmatched": ignore_unmatched, "key": key, "strip": strip}
    source = open_source(folder, layout=layout, exclude=out, **how)  # type: ignore[arg-type]  # typed above
    form, data = _loaded(typed)
    report = _import(source, out, form if architecture else None, data, evaluate=evaluate, skip_bad=skip_bad)
    lines = _import_lines(report, out)
    unmeasured = _unmeasured(out) if evaluate and report.present else 0
    if unmeasured:
        lines.append(
            f"{unmeasured:,} that were there already stay unmeasured: what is stored never changes; use a new zoo"
        )
    _print("zoo import", _headline(report), _problems(report), lines, as_json)


def _unmeasured(zoo: Path) -> int:
    from weightsmith.zoo import Zoo

    return sum("accuracy" not in row.metrics for row in Zoo.open(zoo).rows)


def _loaded(typed: Recipe | None) -> tuple[Architecture | None, Dataset | None]:
    if typed is None:
        return None, None
    from weightsmith.architectures import Architecture
    from weightsmith.datasets import load_dataset

    data, wanted = load_dataset(typed.dataset), typed.architecture
    return Architecture(wanted.name, data.input_shape, data.classes, wanted.options), data


def _import(
    source: Source, out: Path, form: Architecture | None, data: Dataset | None, *, evaluate: bool, skip_bad: bool
) -> ImportReport:
    from weightsmith.console import Console
    from weightsmith.environment import command_line
    from weightsmith.interruption import check_interrupted, deferred_signals
    from weightsmith.zoo import import_zoo

    with resumable(), deferred_signals(), Console() as console:
        return import_zoo(
            source,
            out,
            architecture=form,
            dataset=data,
            evaluate=evaluate,
            skip_bad=skip_bad,
            provenance={"command": command_line()},
            progress=console,
            check=check_interrupted,
        )


def _entry(row: Row) -> dict[str, Any]:
    return {"run": row.run, "step": row.step, **row.metrics, "sha256": row.sha256}


def _headline(report: ImportReport) -> dict[str, Any]:
    return {
        "networks": report.stored,
        "present": report.present,
        "runs": len(report.runs),
        "layouts": {name: layout.parameters for name, layout in report.layouts.items()},
        "quarantined": len(report.quarantined),
        "casts": dict(report.casts),
        "skipped": len(report.skipped),
        "seconds": report.seconds,
    }


def _problems(report: ImportReport) -> list[dict[str, Any]]:
    quarantined = [{"outcome": "quarantined", **vars(entry)} for entry in report.quarantined]
    return quarantined + [{"outcome": "skipped", **vars(entry)} for entry in report.skipped]


def _import_lines(report: ImportReport, out: Path) -> list[str]:
    there = f", {report.present:,} were there already" if report.present else ""
    sizes = ", ".join(f"{layout.parameters:,}" for layout in list(report.layouts.values())[:5])
    more = ", ..." if len(report.layouts) > 5 else ""
    lines = [
        f"{report.stored:,} networks imported into {out}{there}: {len(report.runs):,} runs, {report.seconds:.1f} s",
        f"layouts in the zoo: {len(report.layouts):,} ({sizes}{more} parameters)",
    ]
    if report.casts:
        lines.append(f"tensors cast: {', '.join(f'{count:,} {kind}' for kind, count in report.casts.items())}")
    if report.quarantined:
        lines.append(f"quarantined, since not finite: {len(report.quarantined):,}")
    if report.skipped:
        lines.append(f"skipped, since bad: {len(report.skipped):,}")
    return lines


def _print(
    kind: str, headline: dict[str, Any], rows: Sequence[dict[str, Any]], lines: Sequence[str], as_json: bool
) -> None:
    if as_json:
        print_document(kind, headline, rows)
    else:
        typer.echo("\n".join(lines))
