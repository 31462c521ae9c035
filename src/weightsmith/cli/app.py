"""The program `weightsmith`: its commands, and how errors become messages and exit statuses."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated, TextIO

import typer

import weightsmith
from weightsmith.errors import WeightsmithError

app = typer.Typer(
    name="weightsmith",
    help="Generate neural-network weights, and learn honestly how good and how new they are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"weightsmith {weightsmith.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning as a line for people, without the place in the code that it comes from."""
    print(f"warning: {message}", file=sys.stderr)


def main() -> None:
    """Run the program; on an error print what, and what to do, on stderr, and exit with the error's status."""
    from weightsmith.cli import graphs, networks, runs, synthesis, zoos  # noqa: F401  they add their commands to `app`

    warnings.showwarning = _warn
    try:
        app()
    except WeightsmithError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except BrokenPipeError:  # `weightsmith ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        print(f"error: {error}\n  remedy: check the path, the permissions and the disk", file=sys.stderr)
        sys.exit(1)
