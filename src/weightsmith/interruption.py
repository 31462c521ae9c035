"""Signals: SIGTERM and Ctrl-C ask for a stop, and work stops at the next safe point, its state saved."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from weightsmith.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Note SIGINT and SIGTERM while the block runs, for `check_interrupted` to act on; a second one acts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    previous = {number: signal.signal(number, _note) for number in SIGNALS}
    _received.clear()
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _received.clear()  # it was for this work, and not for what the process does next


def check_interrupted() -> None:
    """Raise `Interrupted` if a signal has arrived. Called where nothing would be lost."""
    if _received:
        raise Interrupted(_received[0])


def _note(number: int, frame: FrameType | None) -> None:
    if _received:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    _received.append(number)
