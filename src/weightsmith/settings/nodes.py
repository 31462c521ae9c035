"""YAML text to nodes that know their lines: plain data only, in bounded time and memory, nothing constructed.

The parser's events are read one by one, so that a file is refused before anything in it is expanded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

MAX_DEPTH = 50
MAX_NODES = 20_000
COMMAND_LINE = 0
Path = tuple[str | int, ...]
_CORE = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_CORE + name for name in ("str", "int", "float", "bool", "null")}


@dataclass(frozen=True)
class Scalar:
    """A value as it was written; the field that it is for decides what it means. Line 0 is the command line."""

    text: str
    quoted: bool
    line: int

    @property
    def is_nothing(self) -> bool:
        return not self.quoted and self.text in ("", "~", "null", "Null", "NULL")


@dataclass
class Mapping:
    """Keys to nodes, with the line of each key."""

    line: int
    entries: dict[str, Node] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def put(self, key: str, node: Node, line: int) -> None:
        self.entries[key], self.lines[key] = node, line


@dataclass
class Sequence:
    """A list of nodes."""

    line: int
    items: list[Node] = field(default_factory=list)


@dataclass(frozen=True)
class Refused:
    """A place whose content was refused and reported; nothing more is said about it."""

    line: int


Node = Scalar | Mapping | Sequence | Refused


@dataclass(frozen=True)
class Problem:
    """One mistake: where in the recipe (path), where in the text (line, 0 for the command line), and what."""

    path: Path
    line: int
    text: str


class _Stop(Exception):
    """Reading cannot go on; the problem is already recorded."""


def read_yaml(text: str, line: int | None = None) -> tuple[Node | None, list[Problem]]:
    """The one document in `text` as nodes, and every mistake of form in it; no node where reading had to stop.

    `line` stands in place of the text's own line numbers, for text from the command line.
    """
    reader = _Reader(text, line)
    try:
        return reader.document(), reader.problems
    except _Stop:
        return None, reader.problems


def plain(node: Node) -> Any:
    """Dictionaries and lists with `Scalar` leaves."""
    if isinstance(node, Mapping):
        return {key: plain(child) for key, child in node.entries.items()}
    if isinstance(node, Sequence):
        return [plain(child) for child in node.items]
    return node


class _Reader:
    def __init__(self, text: str, line: int | None) -> None:
        self.problems: list[Problem] = []
        self.line = line
        self.count = 0
        self.events = self._parse(text)

    def document(self) -> Node | None:
        self._skip(StreamStartEvent)
        event = next(self.events)
        if isinstance(event, StreamEndEvent):
            return None
        if not isinstance(event, DocumentStartEvent):
            self._stop((), event, "not a YAML document")
        node = self._node(next(self.events), (), 1)
        self._skip(DocumentEndEvent)
        event = next(self.events)
        if not isinstance(event, StreamEndEvent):
            self._report((), event, "a second document begins here; keep one recipe a file")
        return node

    def _parse(self, text: str) -> Iterator[Event]:
        line = 1 if self.line is None else self.line
        try:
            yield from YAML(typ="safe", pure=True).parse(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = mark.line + 1 if mark is not None and self.line is None else line
            self.problems.append(Problem((), place, f"not valid YAML: {error.problem or error.context}"))
        except YAMLError as error:
            self.problems.append(Problem((), line, f"not valid YAML: {str(error).strip().splitlines()[0]}"))
        except Exception as error:  # on hostile text the parser also fails by IndexError, ValueError and others
            self.problems.append(Problem((), line, f"not valid YAML ({type(error).__name__})"))
        raise _Stop

    def _skip(self, kind: type[Event]) -> None:
        event = next(self.events)
        if not isinstance(event, kind):
            self._stop((), event, "not a YAML document")

    def _line(self, event: Event) -> int:
        return self.line if self.line is not None else event.start_mark.line + 1

    def _report(self, path: Path, event: Event, text: str) -> None:
        self.problems.append(Problem(path, self._line(event), text))

    def _stop(self, path: Path, event: Event, text: str) -> None:
        self._report(path, event, text)
        raise _Stop

    def _node(self, event: Any, path: Path, depth: int) -> Node:
        self.count += 1
        if self.count > MAX_NODES:
            self._stop((), event, f"more than {MAX_NODES} values; a recipe is far smaller")
        if depth > MAX_DEPTH:
            self._stop((), event, f"nested deeper than {MAX_DEPTH} levels; a recipe needs five")
        line = self._line(event)
        if isinstance(event, AliasEvent):
            self._report(path, event, f"alias *{event.anchor} is refused; write the value out")
            return Refused(line)
        if event.anchor is not None:
            self._report(path, event, f"anchor &{event.anchor} is refused; write the value out where it is wanted")
        node = self._content(event, path, depth)
        return node if self._tag_is_plain(event, path) else Refused(line)

    def _content(self, event: Any, path: Path, depth: int) -> Node:
        if isinstance(event, MappingStartEvent):
            return self._mapping(event, path, depth)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(event, path, depth)
        if not isinstance(event, ScalarEvent):
            self._stop(path, event, "not a YAML value")
        return self._scalar(event, path)

    def _tag_is_plain(self, event: Any, path: Path) -> bool:
        tag = event.tag
        kinds = {MappingStartEvent: {_CORE + "map"}, SequenceStartEvent: {_CORE + "seq"}}
        if tag is None or str(tag) in kinds.get(type(event), _SCALAR_TAGS):
            return True
        shown = str(tag).replace(_CORE, "!!")
        self._report(path, event, f"tag {shown} is refused; a recipe holds plain values only")
        return False

    def _scalar(self, event: ScalarEvent, path: Path) -> Node:
        text = str(event.value)
        if any("\ud800" <= character <= "\udfff" for character in text):
            self._report(path, event, "half of a surrogate pair is not a character; write the character itself")
            return Refused(self._line(event))
        tag = None if event.tag is None else str(event.tag)
        quoted = event.style is not None if tag is None else tag == _CORE + "str"
        return Scalar(text, quoted, self._line(event))

    def _sequence(self, event: Event, path: Path, depth: int) -> Sequence:
        node = Sequence(self._line(event))
        while not isinstance(child := next(self.events), SequenceEndEvent):
            node.items.append(self._node(child, (*path, len(node.items)), depth + 1))
        return node

    def _mapping(self, event: Event, path: Path, depth: int) -> Mapping:
        node = Mapping(self._line(event))
        while not isinstance(child := next(self.events), MappingEndEvent):
            key = self._node(child, path, depth + 1)
            if not isinstance(key, Scalar):
                if not isinstance(key, Refused):
                    self._report(path, child, "a key must be a word, not a list or mapping")
                self._node(next(self.events), path, depth + 1)
                continue
            inner = (*path, key.text)
            value = self._node(next(self.events), inner, depth + 1)
            if key.text in node.entries:
                self._report(inner, child, f"key {key.text!r} is given twice, first on line {node.lines[key.text]}")
            else:
                node.put(key.text, value, key.line)
        return node
