"""Work that is killed at random moments and started again, on a machine of any speed."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from interrupted_runs import start
from kill_counts import Count


class Moments:
    """Moments at which work is hit, drawn evenly from a time that follows how fast this machine is now."""

    def __init__(self, longest: float, seed: int) -> None:
        self._longest, self._rng = longest, random.Random(seed)

    def draw(self) -> float:
        return self._rng.uniform(0, self._longest)

    def adapt(self, hit: bool, amid: bool) -> None:
        """Sooner after work that had ended by itself, later after work that had nothing to show yet."""
        self._longest *= 0.75 if not hit else 1.0 if amid else 1.25


def killed(work: Callable[[], object], seconds: float) -> bool:
    """Run `work` in a forked child and `kill -9` it after `seconds`; False where it had ended by itself before."""
    child, pipe = start(work)
    with os.fdopen(pipe) as stderr:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = stderr.read()
    if status not in (0, -signal.SIGKILL):
        raise RuntimeError(f"what was killed before cannot go on: {said}")
    return status == -signal.SIGKILL


def ended_through_kills(
    work: Callable[[Path], object],
    folder: Path,
    count: Count,
    kills: int,
    moments: Moments,
    look: Callable[[Path], bool],
) -> Iterator[Path]:
    """Do work at one path after the other, killed on its way as often as it happens, and give each when it is done.

    `look` is called after every kill, and says whether one now would be, or was, amid the work. It goes on until there
    were `kills`, of which one was amid.
    """
    for number in itertools.count():
        path, hit = folder / str(number), True
        while hit and count.wants(kills):
            hit = killed(partial(work, path), moments.draw())
            amid = look(path) and hit
            count["kills"] += hit
            count["amid"] += amid
            moments.adapt(hit, amid)
        work(path)
        yield path
        if not count.wants(kills):
            return
