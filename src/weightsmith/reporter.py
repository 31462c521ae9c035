"""Reporter: who is told how the work goes."""

from __future__ import annotations

from typing import Protocol


def counted(number: int, what: str) -> str:
    """`1 network`, `2 networks`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


class Reporter(Protocol):
    """Is told how the work goes; a progress bar, a log, or nothing."""

    def stage(self, title: str, total: int) -> None: ...

    def advance(self, text: str, by: int = 1, fresh: bool = True) -> None: ...

    def note(self, text: str) -> None: ...


class Silent:
    """Reports nothing."""

    def stage(self, title: str, total: int) -> None:
        pass

    def advance(self, text: str, by: int = 1, fresh: bool = True) -> None:
        pass

    def note(self, text: str) -> None:
        pass
