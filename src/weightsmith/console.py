"""What a person sees while work goes on: a progress bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_EVERY_SECONDS = 5.0


class Console:
    """A context manager that shows stages and how far they are."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._done, self._total, self._last = 0, 0, 0.0

    def __enter__(self) -> Console:
        if sys.stderr.isatty():
            from rich.console import Console as RichConsole
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[text]}"), console=RichConsole(stderr=True))
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def stage(self, title: str, total: int) -> None:
        """A new stage of `total` units begins."""
        self._done, self._total, self._last = 0, total, 0.0
        if self._bar is not None:
            self._task = self._bar.add_task(title, total=total, text="")
        else:
            self._line(f"{title} ...")

    def advance(self, text: str, by: int = 1) -> None:
        """`by` units are done; the last of a stage is always shown, others now and then."""
        self._done += by
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=by, text=text)
        elif self._done >= self._total or time.monotonic() - self._last > LINE_EVERY_SECONDS:
            self._last = time.monotonic()
            self._line(f"  [{self._done}/{self._total}] {text}")

    def note(self, text: str) -> None:
        """Something worth a line of its own."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self._line(f"  {text}")

    @staticmethod
    def _line(text: str) -> None:
        print(text, file=sys.stderr, flush=True)
