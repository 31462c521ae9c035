"""Pattern: what file names say of networks, as `run_{run}/epoch_{step}-acc{accuracy}.pt`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from weightsmith.errors import BadInput

MAX_LENGTH = 1_000  # characters of a pattern, and of each name that it is laid on
IGNORED = "_"
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DIGITS = ("step", "seed")
_ASCII_DIGITS = frozenset("0123456789")


@dataclass(frozen=True)
class Field:
    """A place in a pattern where something stands: digits in `step` and `seed`, else anything but a slash."""

    name: str

    def takes(self, character: str) -> bool:
        return character in _ASCII_DIGITS if self.name in _DIGITS else character != "/"


@dataclass(frozen=True)
class Pattern:
    """Literal text and fields in turn. A field takes as little as it can, from the left, so that the whole name fits.

    Matching takes steps in proportion to the pattern times the name, whatever either holds: no regular expression is
    made of them, since one with several fields could be kept busy for hours by one name.
    """

    text: str
    pieces: tuple[str | Field, ...]

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read a pattern; `{{` and `}}` are braces. Raises `BadInput` naming what is wrong with it."""
        pieces: list[str | Field] = []
        for found in _PIECE.finditer(text):
            piece = found[0]
            if piece in ("{", "}"):
                raise _bad(text, f"{piece!r} stands alone", "close every field, as {step}; write {{ and }} for braces")
            if found[1] is not None:
                pieces.append(Field(found[1]))
            else:
                _add_literal(pieces, {"{{": "{", "}}": "}"}.get(piece, piece))
        pattern = cls(text, tuple(pieces))
        pattern._check()
        return pattern

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, but for those that are ignored."""
        return tuple(p.name for p in self.pieces if isinstance(p, Field) and p.name != IGNORED)

    def match(self, name: str) -> dict[str, str] | None:
        """What stands in each field where the whole of `name` fits, else None."""
        if len(name) > MAX_LENGTH:
            return None
        ends = self._ends(name)
        values, start = {}, 0
        for piece, fits in zip(self.pieces, ends, strict=True):
            end = fits[start]
            if end is None:
                return None
            if isinstance(piece, Field) and piece.name != IGNORED:
                values[piece.name] = name[start:end]
            start = end
        return values if start == len(name) else None

    def _ends(self, name: str) -> list[list[int | None]]:
        """For each piece and each start: where the piece ends at the earliest so that all after it fits, or None."""
        length = len(name)
        fits = [False] * length + [True]  # what comes after the last piece: the end of the name
        table: list[list[int | None]] = []
        for piece in reversed(self.pieces):
            ends = _literal_ends(piece, name, fits) if isinstance(piece, str) else _field_ends(piece, name, fits)
            table.append(ends)
            fits = [end is not None for end in ends]
        return table[::-1]

    def _check(self) -> None:
        if not self.text or len(self.text) > MAX_LENGTH:
            raise _bad(self.text, f"it has {len(self.text)} characters", f"give 1 to {MAX_LENGTH}")
        odd = next((p.name for p in self.pieces if isinstance(p, Field) and not _FIELD.fullmatch(p.name)), None)
        if odd is not None:
            raise _bad(self.text, f"field {odd!r} has no name", "name it by letters, digits and _, as {accuracy}")
        twice = next((name for name in self.fields if self.fields.count(name) > 1), None)
        if twice is not None:
            raise _bad(self.text, f"field {twice!r} stands in it twice", "write {_} for what is to be ignored")
        for before, after in zip(self.pieces, self.pieces[1:], strict=False):
            if isinstance(before, Field) and isinstance(after, Field):
                raise _bad(self.text, f"{{{before.name}}} and {{{after.name}}} touch", "put text between them")
        if not any(isinstance(piece, Field) for piece in self.pieces):
            raise _bad(self.text, "it has no field", "write one in braces, as run_{run}.pt")


def _literal_ends(literal: str, name: str, fits: list[bool]) -> list[int | None]:
    ends: list[int | None] = [None] * (len(name) + 1)
    start = name.find(literal)
    while start >= 0:
        end = start + len(literal)
        ends[start] = end if fits[end] else None
        start = name.find(literal, start + 1)
    return ends


def _field_ends(field: Field, name: str, fits: list[bool]) -> list[int | None]:
    ends: list[int | None] = [None] * (len(name) + 1)
    nearest: int | None = None
    for start in range(len(name) - 1, -1, -1):
        if not field.takes(name[start]):
            nearest = None
            continue
        nearest = start + 1 if fits[start + 1] else nearest
        ends[start] = nearest
    return ends


def _add_literal(pieces: list[str | Field], literal: str) -> None:
    last = pieces[-1] if pieces else None
    if isinstance(last, str):
        pieces[-1] = last + literal
    else:
        pieces.append(literal)


def _bad(text: str, problem: str, remedy: str) -> BadInput:
    return BadInput(f"pattern {text[:200]!r}: {problem}", remedy)
