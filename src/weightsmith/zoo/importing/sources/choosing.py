"""Which kind of source a folder is: as the user says, else by what lies in it."""

from __future__ import annotations

from pathlib import Path

from weightsmith.errors import BadInput
from weightsmith.zoo.export import INDEX
from weightsmith.zoo.importing.sources.arrays import array_networks, is_array_zoo
from weightsmith.zoo.importing.sources.candidate import Reading, Source
from weightsmith.zoo.importing.sources.exported import exported_files, is_index
from weightsmith.zoo.importing.sources.files import patterned_files, plain_files, tabled_files
from weightsmith.zoo.importing.sources.folder import inside, require_folder
from weightsmith.zoo.importing.sources.ray_tune import trials, tuned_models

SOURCES = ("auto", "files", "ray-tune", "arrays")


def open_source(
    folder: Path | str,
    *,
    layout: str = "auto",
    key: str | None = None,
    strip: str = "",
    table: Path | None = None,
    pattern: str | None = None,
    ignore_unmatched: bool = False,
    exclude: Path | None = None,
) -> Source:
    """The networks in `folder`; what lies in its subfolder `exclude` is left out.

    `auto` takes arrays where `weights.npy` and `layout.csv` lie in it, Ray Tune's folders where there are such, else
    files. Files are described by a `table` (CSV), by a `pattern` of their paths, by the `index.csv` of an export, or
    not at all. `key` and `strip` say where in a file the state dict is, and what to take off its names. Raises
    `BadInput` for arguments that do not go together, and for a folder without networks; `ArtifactError` for damage.
    """
    folder = Path(folder)
    require_folder(folder)
    if layout not in SOURCES:
        raise BadInput(f"layout {layout!r} is unknown", f"use one of {', '.join(SOURCES)}")
    kind = _kind_of(folder, exclude) if layout == "auto" and table is None and pattern is None else layout
    reading = Reading(key, strip)
    if kind == "arrays":
        _refuse("arrays", {"--key": key, "--strip": strip, "--table": table, "--pattern": pattern})
        return array_networks(folder)
    if kind == "ray-tune":
        _refuse("ray-tune", {"--table": table, "--pattern": pattern})
        return tuned_models(folder, reading, exclude)
    return _files(folder, reading, exclude, table, pattern, ignore_unmatched)


def _files(
    folder: Path, reading: Reading, exclude: Path | None, table: Path | None, pattern: str | None, ignore: bool
) -> Source:
    if table is not None and pattern is not None:
        raise BadInput("a table and a pattern are given", "describe the files by --table or by --pattern")
    if pattern is not None:
        return patterned_files(folder, reading, exclude, pattern, ignore)
    if table is not None and not is_index(table):
        return tabled_files(folder, reading, exclude, table, ignore)
    if table is not None or is_index(inside(folder, INDEX)):
        return exported_files(folder, reading, exclude, table)
    return plain_files(folder, reading, exclude)


def _kind_of(folder: Path, exclude: Path | None) -> str:
    if is_array_zoo(folder):
        return "arrays"
    return "ray-tune" if next(trials(folder, exclude), None) is not None else "files"


def _refuse(kind: str, options: dict[str, object]) -> None:
    given = next((name for name, value in options.items() if value), None)
    if given is not None:
        raise BadInput(f"{given} says nothing of networks in the form {kind!r}", f"leave {given} out")
