"""A folder as a source: which files in it may be read, so that no link and no name leads out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from weightsmith.checkpoint import SUFFIXES
from weightsmith.errors import ArtifactError, BadInput

SHOWN = 5


@dataclass(frozen=True)
class Listing:
    """Relative paths, sorted: checkpoint files; links that lead out or nowhere; what was left alone, and why."""

    files: list[str] = field(default_factory=list)
    escaping: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    zoos: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """What was left alone, a line each kind."""
        kinds = {
            "other files": self.others,
            "links to what lies in the folder anyway": self.links,
            "zoos in it": self.zoos,
        }
        return [f"{kind} are left alone: {len(names)} ({some(names)})" for kind, names in kinds.items() if names]


def some(names: list[str]) -> str:
    """The first few names, and that there are more."""
    shown = [name if name.isprintable() else repr(name) for name in names[:SHOWN]]
    return ", ".join(shown) + (", ..." if len(names) > SHOWN else "")


def require_folder(folder: Path) -> None:
    """Raise `BadInput` unless `folder` is one that networks can be imported from."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder", "give the folder that the networks lie in")
    if (folder / "zoo.json").is_file():
        raise BadInput(f"{folder} is a zoo already", "use it as it is: weightsmith zoo show ZOO")


def list_files(folder: Path, exclude: Path | None = None) -> Listing:
    """Go through `folder` and all in it, but for hidden names, zoos and `exclude`; no link is followed."""
    listing = Listing()
    for place, _, files in walk(folder, exclude, listing):
        for name in files:
            _sort_in(listing, folder, place / name)
    for names in (listing.files, listing.escaping, listing.links, listing.others):
        names.sort()
    return listing


def walk(folder: Path, exclude: Path | None, listing: Listing) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk` from the top in the order of names, without what is hidden, `exclude`, a zoo, or a link to a folder.

    What of these a person is to be told of is added to `listing`.
    """
    excluded = exclude.resolve() if exclude is not None else None
    for name, directories, files in os.walk(folder, onerror=_refuse):
        place = Path(name)
        if place != folder and "zoo.json" in files:
            listing.zoos.append(_relative(folder, place))
            directories.clear()
            continue
        visible = sorted(name for name in directories if name[0] != ".")
        links = [name for name in visible if (place / name).is_symlink()]
        for name in links:
            _sort_link(listing, folder, place / name)
        directories[:] = [n for n in visible if n not in links and (place / n).resolve() != excluded]
        yield place, directories, sorted(name for name in files if name[0] != ".")


def leads_inside(folder: Path, path: Path) -> bool:
    """Whether `path`, all links resolved, is something that lies in `folder`."""
    try:
        return path.resolve(strict=True).is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # to nothing, or round in a circle
        return False


def inside(folder: Path, name: str) -> Path:
    """The path of `name`, which a file states, within `folder`.

    Raises `BadInput` where it is no relative path, and `ArtifactError` where a link in it leads out of the folder.
    """
    path = PurePosixPath(name)
    if not name or "\0" in name or path.is_absolute() or ".." in path.parts or Path(name).drive:
        raise BadInput(f"{name!r} is not a path inside the folder", "write paths relative to the folder, without ..")
    found = folder / path
    if os.path.lexists(found) and not leads_inside(folder, found):
        raise link_error(folder, name)
    return found


def link_error(folder: Path, name: str) -> ArtifactError:
    """What is wrong with a link that leads out of the folder."""
    return ArtifactError(
        f"{folder / name} is a link that leads out of {folder}, or to nothing",
        "copy what it points to into the folder, or remove the link",
    )


def _sort_in(listing: Listing, folder: Path, path: Path) -> None:
    if not path.name.endswith(SUFFIXES):
        listing.others.append(_relative(folder, path))
    elif path.is_symlink():
        _sort_link(listing, folder, path)
    else:
        listing.files.append(_relative(folder, path))


def _sort_link(listing: Listing, folder: Path, path: Path) -> None:
    (listing.links if leads_inside(folder, path) else listing.escaping).append(_relative(folder, path))


def _relative(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _refuse(error: OSError) -> None:
    raise BadInput(f"cannot read {error.filename}: {error.strerror}", "check its permissions")
