"""Commands that make and measure runs: run, zoo build, train, evaluate, report, recipes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weightsmith.cli.app import app
from weightsmith.cli.documents import print_document
from weightsmith.cli.resuming import resumable
from weightsmith.errors import BadInput, EnvironmentFault
from weightsmith.reporter import counted

if TYPE_CHECKING:
    from weightsmith.pipeline import EngineFactory, RunFolder
    from weightsmith.settings.recipe import Recipe
    from weightsmith.zoo.build import Engine

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe (see `recipes`) or a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Changes to the recipe, as zoo.epochs=2 or device=cpu."),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/NAME without it.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of tables.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the recipe, say what it would do, and stop.")]

zoo_app = typer.Typer(help="Populations of trained networks.", no_args_is_help=True)
app.add_typer(zoo_app, name="zoo")


@app.command(short_help="The shipped experiments, or one of them in full.")
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe, to be copied and changed.")] = None,
    settings: Annotated[bool, typer.Option("--settings", help="List every setting that a recipe may hold.")] = False,
) -> None:
    """The shipped experiments, one line each; one of them in full; or every setting there is."""
    if settings:
        from weightsmith.settings.describing import describe_settings

        _columns([(line.path, line.default, line.meaning) for line in describe_settings()])
        return
    from weightsmith.settings.loading import list_recipes, recipe_text

    if name is not None:
        typer.echo(recipe_text(name), nl=False)
        return
    _columns(list_recipes())


@app.command(short_help="Run a whole experiment.")
def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Out = None,
    as_json: Json = False,
    dry_run: DryRun = False,
    or_digits: Annotated[
        bool, typer.Option("--or-digits", help="Where the data set cannot be had, use the embedded digits.")
    ] = False,
) -> None:
    """Run a whole experiment: zoo, training, evaluation, report. The same command again resumes it."""
    _make(recipe, overrides, out, "report", as_json=as_json, dry_run=dry_run, or_digits=or_digits)


@zoo_app.command("build", short_help="Train the networks of a recipe.")
def zoo_build(
    recipe: RecipeName,
    overrides: Overrides = None,
    runs: Annotated[int | None, typer.Option(min=1, help="How many runs; the same as zoo.runs=N.")] = None,
    out: Out = None,
    engine: Annotated[str, typer.Option(help="local: processes of this machine; ray: a Ray cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster: auto, host:port or ray://host:port; without it, Ray here.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Train the networks of a recipe and capture their weights. The same command again resumes it."""
    changes = [*(overrides or ()), *([f"zoo.runs={runs}"] if runs else ())]
    _make(recipe, changes, out, "zoo", dry_run=dry_run, engine=_engine(engine, address))


def _engine(name: str, address: str | None) -> EngineFactory | None:
    """What makes the engine of a resolved recipe; nothing for the local one."""
    if name == "ray":

        def ray_engine(recipe: Recipe) -> Engine:
            from weightsmith.engines.ray import RayEngine

            return RayEngine(address, recipe.zoo.threads, gpus=float(recipe.device == "cuda"))

        return ray_engine
    if name != "local":
        raise BadInput(f"engine {name!r} is unknown", "use local or ray")
    if address is not None:
        raise BadInput("--address is of a Ray cluster", "add --engine ray, or leave it out")
    return None


@app.command(short_help="Run an experiment up to its generators.")
def train(recipe: RecipeName, overrides: Overrides = None, out: Out = None, dry_run: DryRun = False) -> None:
    """A run up to its trained generators (the zoo is built first if it is missing)."""
    _make(recipe, overrides, out, "train", dry_run=dry_run)


@app.command(short_help="Write a run's report again, and print it.")
def report(run: Annotated[Path, typer.Argument(help="Folder of a run.")], as_json: Json = False) -> None:
    """Write report.html and the plots of a run again, from its records, and print its tables."""
    from weightsmith.pipeline import STAGES, RunFolder
    from weightsmith.reporter import Silent

    folder = RunFolder.open(run)
    STAGES["report"].do(folder, Silent())
    _show(folder, as_json)


def finish(path: Path, until: str, as_json: bool) -> None:
    """Complete an existing run up to a stage, and show what it has come to."""
    from weightsmith.console import Console
    from weightsmith.interruption import deferred_signals
    from weightsmith.pipeline import RunFolder
    from weightsmith.pipeline.stages import complete

    with resumable(), deferred_signals(), Console() as console:
        folder = RunFolder.open(path)
        complete(folder, until=until, reporter=console)
    _show(folder, as_json)


def _make(
    name: str,
    overrides: list[str] | None,
    out: Path | None,
    until: str,
    *,
    as_json: bool = False,
    dry_run: bool = False,
    or_digits: bool = False,
    engine: EngineFactory | None = None,
) -> None:
    from weightsmith.settings.experiment import require_experiment, require_zoo
    from weightsmith.settings.loading import load_recipe

    recipe = load_recipe(name, overrides or ())
    if until == "zoo":
        require_zoo(recipe)
    else:
        require_experiment(recipe)
    path = out or Path("runs") / recipe.name
    if dry_run:
        _describe(recipe, path, until)
        return
    from weightsmith.console import Console
    from weightsmith.interruption import deferred_signals
    from weightsmith.pipeline import local_engine, run_pipeline

    with resumable(), deferred_signals(), Console() as console:
        if or_digits:
            recipe, path = _with_data(recipe, path)
        folder = run_pipeline(recipe, path, until=until, reporter=console, engine=engine or local_engine)
    if until == "report":
        _show(folder, as_json)
    elif until == "zoo":
        _show_zoo(folder)
    else:
        typer.echo(f"done up to {until}: {folder.path}")


def _show_zoo(folder: RunFolder) -> None:
    from weightsmith.zoo import Zoo
    from weightsmith.zoo.summary import summarise, summary_lines

    typer.echo("\n".join(summary_lines(summarise(Zoo.open(folder.zoo)))))


def _columns(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        typer.echo("  ".join([*cells, row[-1]]).rstrip())


def _with_data(recipe: Recipe, path: Path) -> tuple[Recipe, Path]:
    """The recipe, on the embedded digits where its data set is neither at hand nor to be had."""
    from weightsmith.datasets import load_dataset
    from weightsmith.pipeline.planning import requests_of

    try:
        load_dataset(requests_of(recipe)[0])
        return recipe, path
    except EnvironmentFault as error:
        missing = error.message.splitlines()[0]
        print(f"{missing}; going on with the embedded digits (dataset=digits)", file=sys.stderr)
    digits = recipe.dataset.model_copy(update={"name": "digits"})
    return recipe.model_copy(update={"dataset": digits}), path.with_name(f"{path.name}-digits")


def _describe(recipe: Recipe, path: Path, until: str) -> None:
    """What a run would do, from closed forms, without torch."""
    from weightsmith.settings.architectures import count_parameters
    from weightsmith.settings.dumping import dump_recipe
    from weightsmith.settings.experiment import learns_zoo

    typer.echo(dump_recipe(recipe))
    if not learns_zoo(recipe):
        _describe_universal(recipe, path, until)
        return
    if recipe.dataset.name.startswith(("mnist", "digits")) and not {"architecture", "options"} & set(recipe.vary.named):
        size = recipe.dataset.image_size or 28
        form = recipe.architecture
        parameters = count_parameters(form.name, form.options, (1, size, size), 10)
        known = "known when it is built" if parameters is None else f"{parameters:,}"
        typer.echo(f"# parameters of one network: {known}")
    captured = "and more between epochs" if recipe.zoo.capture_steps else "each"
    built = f"{counted(recipe.zoo.runs, 'run')} of {recipe.zoo.epochs + 1} checkpoints {captured}"
    typer.echo(f"# networks: {built if recipe.zoo.folder is None else f'those of {recipe.zoo.folder}'}")
    if recipe.vary.named:
        typer.echo(f"# varied from run to run: {', '.join(recipe.vary.named)}")
    typer.echo(f"# would run up to {until!r} in {path}")


def _describe_universal(recipe: Recipe, path: Path, until: str) -> None:
    """What a run that learns from no zoo would do."""
    universal, training = recipe.universal, recipe.training
    weights = universal.families.weights
    shares = ", ".join(f"{name} {weight / sum(weights.values()):.0%}" for name, weight in weights.items())
    updates = max(training.budgets.values()) * training.updates
    typer.echo(f"# architectures: {universal.pool:,} of the splits {', '.join(universal.splits)} ({shares})")
    shown = f"{universal.architectures} of them and up to {counted(training.batch_size, 'image')} in each"
    typer.echo(f"# training: {counted(updates, 'update')}, {shown}")
    typer.echo(f"# measured: {counted(universal.evaluated, 'architecture')} of each split, on test images")
    typer.echo(f"# would run up to {until!r} in {path}")


def _show(folder: RunFolder, as_json: bool) -> None:
    from weightsmith.report import report_of
    from weightsmith.report.table import as_text

    report = report_of(folder.recipe.generator.name)
    summary, headline = folder.summary, folder.recipe.training.headline
    if as_json:
        print_document("run", report.headline(summary, headline), summary.rows())
        return
    for table in report.tables(summary, headline):
        typer.echo(as_text(table) + "\n")
    typer.echo("\n".join(report.verdict(summary, headline)))
    typer.echo(f"\nreport: {folder.report}")
