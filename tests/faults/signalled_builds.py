"""`weightsmith zoo build`, interrupted by signals at random moments and started again by the command that it prints."""

from __future__ import annotations

import itertools
import os
import random
import re
import shlex
import signal
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from interrupted_runs import start_program
from kill_counts import Count
from killed_builds import COUNTED, NOTHING, Facts, finish, look
from through_kills import Moments

from weightsmith.tensorfile import read_state
from weightsmith.zoo import Zoo

_EPOCH = re.compile(r"(?:run |\d+ runs from )(\d+): epoch (\d+) of (\d+)")


@dataclass(frozen=True)
class Signalled:
    """What the program said when a signal came, and how it ended."""

    status: int
    said: str
    number: int

    @property
    def ended(self) -> bool:
        """Whether it had done its work; a signal that came after that acts as on any program."""
        return self.status in (0, -self.number) or (self.status == 128 + self.number and "error:" not in self.said)

    @cached_property
    def epochs(self) -> dict[int, tuple[int, int]]:
        """The last epoch that it told of each group, which is named by its first run, and how many there will be."""
        return {int(first): (int(epoch), int(all)) for first, epoch, all in _EPOCH.findall(self.said)}

    def unsaved(self, zoo: Path) -> int:
        """How many of the epochs that it told of are neither in a saved state nor in the zoo.

        A group that has told of its last epoch does not count: its networks may be on their way from a worker.
        """
        stored = Zoo.open(zoo).runs
        states = {first: zoo / "unfinished" / f"run-{first}.safetensors" for first in self.epochs}
        saved = {first: read_state(file)[1]["epoch"] if file.exists() else 0 for first, file in states.items()}
        return sum(
            max(0, epoch - saved[first])
            for first, (epoch, last) in self.epochs.items()
            if first not in stored and epoch < last
        )

    def command(self) -> list[str]:
        """The arguments of the command to resume, which it printed. Fails where it was not interrupted as it must."""
        assert self.status == 128 + self.number, self.said
        assert "Traceback" not in self.said
        assert f"interrupted by signal {int(self.number)}, state saved" in self.said
        program, *arguments = shlex.split(self.said.partition("resume with: ")[2])
        assert program == "weightsmith"
        return arguments


def signalled(arguments: list[str], number: int, seconds: float | None) -> Signalled:
    """Run the program, and signal it so many seconds after it has begun to train, or not at all."""
    child, pipe = start_program(*arguments)
    with os.fdopen(pipe) as stderr:
        said = ""
        for line in stderr:
            said += line
            if line.startswith("training ") and seconds is not None:
                time.sleep(seconds)
                os.kill(child, number)
                break
        said += stderr.read()
    return Signalled(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said, number)


def build_through_signals(arguments: list[str], whole: Facts, folder: Path, kills: int, longest: float) -> Count:
    """Build zoos one after the other, each interrupted on its way as often as it happens, until there were `kills`."""
    count, rng, moments = Count(*COUNTED, "epochs_unsaved"), random.Random(kills), Moments(longest, kills)
    for build in itertools.count():
        run, before, ended = folder / f"my run {build}", NOTHING, False
        command = [*arguments, "--out", str(run)]
        while not ended:
            number, seconds = rng.choice([signal.SIGTERM, signal.SIGINT]), moments.draw()
            found = signalled(command, number, seconds if count.wants(kills) else None)
            ended, amid = found.ended, any((run / "zoo" / "unfinished").glob("run-*"))
            before = look(run / "zoo", whole, before, count)
            moments.adapt(not ended, amid)
            if not ended:
                assert found.command() == command
                command = found.command()
                count["kills"] += 1
                count["amid"] += amid
                count["epochs_unsaved"] += found.unsaved(run / "zoo")
                count["leftovers"] += len(list(run.rglob("*.tmp")))
        finish(run, whole, before, count)
        if not count.wants(kills):
            break
    return count
