"""Plain checkpoint files in a folder: what is known of each is stated by a table, by a pattern of names, or by nothing.

Where no run is stated, the files of one folder that state a step are one run, named by the folder; a file that states
neither is a run of its own, named by its relative path, at step 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from weightsmith.errors import BadInput
from weightsmith.zoo.cells import is_number, read_count, read_number, run_from_text
from weightsmith.zoo.importing.sources.candidate import Candidate, FileCandidate, Reading, Source, Unusable
from weightsmith.zoo.importing.sources.folder import Listing, inside, link_error, list_files, some
from weightsmith.zoo.importing.sources.pattern import Pattern
from weightsmith.zoo.importing.sources.table import Line, Table
from weightsmith.zoo.rows import RowInfo

FILE = "file"
_OWN = ("run", "step", "seed")


def plain_files(folder: Path, reading: Reading, exclude: Path | None) -> Source:
    """Every checkpoint file as a run of its own. Raises `BadInput` where there is none."""
    return _named(folder, reading, list_files(folder, exclude), lambda name: RowInfo(name, 0, 0))


def patterned_files(folder: Path, reading: Reading, exclude: Path | None, text: str, ignore: bool) -> Source:
    """The files whose relative paths fit a pattern. Raises `BadInput` where some do not, unless they are ignored."""
    pattern, listing = Pattern.parse(text), list_files(folder, exclude)
    unmatched = [name for name in listing.files if pattern.match(name) is None]
    if len(unmatched) == len(listing.files):
        raise BadInput(
            f"pattern {text!r} fits none of the {len(unmatched)} checkpoint files in {folder} ({some(unmatched)})",
            "write it for the whole path from the folder on, as run_{run}/epoch_{step}.pt",
        )
    fitting = Listing([name for name in listing.files if pattern.match(name) is not None], *_rest(listing))
    source = _named(folder, reading, fitting, lambda name: describe_name(name, pattern.match(name) or {}))
    return _without(source, unmatched, "the pattern does not fit", ignore)


def tabled_files(folder: Path, reading: Reading, exclude: Path | None, path: Path, ignore: bool) -> Source:
    """The files that a table names, in its order. Raises `BadInput` for a file on one side only, unless ignored."""
    table, listing = Table.open(path), list_files(folder, exclude)
    if FILE not in table.columns:
        raise BadInput(
            f"{path} has no column {FILE!r}, only {some(list(table.columns))}",
            f"name the files in a column {FILE!r}, by paths relative to {folder}",
        )
    named = Counter(_plain(line.cells[FILE]) for line in table)
    twice = next((name for name, count in named.items() if count > 1), None)
    if twice is not None:
        raise BadInput(f"{path} names {twice!r} twice", "keep one line a file")
    there = {name for name in named if _is_there(folder, name)}
    if not there:
        raise BadInput(f"{path} names no file in {folder} ({some(list(named))})", "name the files from the folder on")

    def candidates() -> Iterator[Candidate | Unusable]:
        for line in table:
            name = _plain(line.cells[FILE])
            if name in there:
                yield _stated(folder, name, reading, partial(describe_line, name, table, line))

    source = Source("files", folder, len(there), candidates, listing.notes())
    missing = [name for name in named if name not in there]
    source = _without(source, missing, "the table names and that are not there", ignore)
    return _without(source, [name for name in listing.files if name not in there], "the table does not name", ignore)


def describe_name(name: str, found: Mapping[str, str]) -> RowInfo:
    """What a file name states: `run`, `step`, `seed`; other fields are metrics where numbers, else extra."""
    others = {field: value for field, value in found.items() if field not in _OWN}
    metrics = {field: read_number(value) for field, value in others.items() if is_number(value)}
    extra = {field: value for field, value in others.items() if not is_number(value)}
    return _row(name, found, metrics, extra)


def describe_line(name: str, table: Table, line: Line) -> RowInfo:
    """What a line of a table states of the file `name`. Raises `BadInput` naming the line."""
    metrics, extra = table.facts(line, besides=(FILE, *_OWN))
    try:
        return _row(name, {key: value for key, value in line.cells.items() if key in _OWN}, metrics, extra)
    except BadInput as error:
        raise BadInput(f"{table.path} line {line.number}: {error.message}", error.remedy) from None


def _row(name: str, stated: Mapping[str, str], metrics: dict[str, Any], extra: dict[str, Any]) -> RowInfo:
    counts = {key: _count(key, stated[key]) for key in ("step", "seed") if stated.get(key)}
    run = run_from_text(stated["run"]) if stated.get("run") else None
    if run is None:
        run = PurePosixPath(name).parent.as_posix() if "step" in counts else name
    return RowInfo(run, counts.get("step", 0), counts.get("seed", 0), metrics, extra)


def _count(key: str, text: str) -> int:
    value = read_count(text)
    if value is None or value < 0:
        raise BadInput(f"{key} {text!r} is not a whole number", "write 0, 1, 2, ...")
    return value


def _named(folder: Path, reading: Reading, listing: Listing, describe: Callable[[str], RowInfo]) -> Source:
    if not listing.files and not listing.escaping:
        others = f", only other files ({some(listing.others)})" if listing.others else ""
        raise BadInput(
            f"{folder} holds no checkpoint{others}", "give a folder with files that end in .safetensors, .pt or .pth"
        )

    def candidates() -> Iterator[Candidate | Unusable]:
        yield from (Unusable(name, link_error(folder, name)) for name in listing.escaping)
        yield from (_stated(folder, name, reading, partial(describe, name)) for name in listing.files)

    return Source("files", folder, len(listing.files) + len(listing.escaping), candidates, listing.notes())


def _stated(folder: Path, name: str, reading: Reading, describe: Callable[[], RowInfo]) -> Candidate | Unusable:
    try:
        return FileCandidate(name, inside(folder, name), describe(), reading)
    except BadInput as error:
        return Unusable(name, error)


def _rest(listing: Listing) -> tuple[list[str], ...]:
    return listing.escaping, listing.links, listing.zoos, listing.others


def _without(source: Source, names: list[str], clause: str, ignore: bool) -> Source:
    """`source` with a note on files that are left out. Raises `BadInput` unless they are to be ignored."""
    if not names:
        return source
    what = f"files that {clause}: {len(names)} ({some(names)})"
    if not ignore:
        raise BadInput(f"{source.folder}: {what}", "correct this, or leave them out with --ignore-unmatched")
    return replace(source, notes=[*source.notes, f"left out: {what}"])


def _plain(name: str) -> str:
    return PurePosixPath(name).as_posix() if name else name


def _is_there(folder: Path, name: str) -> bool:
    try:
        return inside(folder, name).is_file()
    except BadInput:
        return True  # a bad name is reported as such, with its file
