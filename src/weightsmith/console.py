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
        self._fresh, self._started = 0, 0.0

    def __enter__(self) -> Console:
        if sys.stderr.isatty():
            from rich.console import Console as RichConsole
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(
                *columns, TextColumn("{task.fields[text]}", markup=False), console=RichConsole(stderr=True)
            )
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
        self._fresh, self._started = 0, time.monotonic()
        if self._bar is not None:
            self._task = self._bar.add_task(title, total=total, text="")
        else:
            self._line(f"{title} ...")

    def advance(self, text: str, by: int = 1, fresh: bool = True) -> None:
        """`by` units are done, not `fresh` where an earlier run did them; the last of a stage is always shown."""
        self._done += by
        self._fresh += by if fresh else 0
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=by, text=text)
        elif self._done >= self._total or time.monotonic() - self._last > LINE_EVERY_SECONDS:
            self._last = time.monotonic()
            self._line(f"  [{self._done}/{self._total}] {text}{self._left()}")

    def note(self, text: str) -> None:
        """Something worth a line of its own."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self._line(f"  {text}")

    def _left(self) -> str:
        """The time left, where there is enough to judge it by."""
        left, elapsed = self._total - self._done, time.monotonic() - self._started
        if left <= 0 or self._fresh == 0 or elapsed < LINE_EVERY_SECONDS:
            return ""
        seconds = elapsed / self._fresh * left
        return f", {seconds / 60:.0f} min left" if seconds > 90 else f", {seconds:.0f} s left"

    @staticmethod
    def _line(text: str) -> None:
        print(text, file=sys.stderr, flush=True)
