"""Work that can be interrupted: the message says with which command it goes on."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator

from weightsmith.errors import Interrupted


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """Add the command that resumes to the message of an interruption."""
    try:
        yield
    except Interrupted as error:
        command = shlex.join(["weightsmith", *sys.argv[1:]])
        raise Interrupted(error.signal_number, error.message, f"resume with: {command}") from None
