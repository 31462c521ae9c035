"""What the loops of kills count. When all the long ones have run, it is written to `benchmarks/results/kills.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from weightsmith.environment import describe_environment

RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "kills.json"
LOOPS = {  # what is killed: its row, and the kills of the loop that belongs into the result
    "a writer of a zoo": (1, 200),
    "a writer of a sealed document": (1, 200),
    "a writer of a .pt file": (1, 200),
    "a writer of a .safetensors file": (1, 200),
    "a writer of an unfinished state": (1, 200),
    "an import of checkpoints": (1, 200),
    "a writer of large networks, documents and states": (2, 200),
    "zoo build, signalled: one process": (4, 200),
    "zoo build, signalled: two worker processes": (4, 100),
    "a writer between segment and record": (5, 200),
    "zoo build: CNNs one by one": (6, 200),
    "zoo build: stacked MLPs of many learning rates": (6, 200),
    "zoo build: stacked MLPs captured between epochs": (6, 200),
    "zoo build: stacked MLPs of which some diverge": (6, 200),
}


class Count(dict[str, int]):
    """What one loop of kills came to: what it counts, by name.

    `kills`: processes that were at work when they were killed or signalled. `amid`: of them, those that were hit where
    the loop aims: with a file half written, between a segment and its record, with an epoch saved. `swept`: temporary
    files that were left, and were gone when the zoo was opened for writing. `builds`: zoos that were brought to their
    end through kills.
    Harm, which must be 0: `lost`, `different`, `ghosts`: networks (in row 1 also versions of a file, in row 2 also
    files of others) that were there and are no more, that are not bitwise what they should be, and that should not be
    there. `orphans`: segments that are not read, or have no record after the zoo was opened for writing. `leftovers`:
    files of dead processes that were not swept. `epochs_unsaved`: epochs, told of, of groups that had not ended, which
    an interruption did not save.
    """

    HARM = ("lost", "different", "ghosts", "orphans", "leftovers", "epochs_unsaved")

    def __init__(self, *names: str) -> None:
        super().__init__(dict.fromkeys(("kills", "amid", *names), 0))

    def wants(self, kills: int) -> bool:
        """Whether there must be more: until there were `kills`, and one amid, for which no machine needs many more."""
        return self["kills"] < kills or (not self["amid"] and self["kills"] < 8 * kills)

    @property
    def harm(self) -> dict[str, int]:
        """What must not be, where it is."""
        return {name: self[name] for name in self.HARM if self.get(name)}


_found: dict[str, Count] = {}


def record(loop: str, count: Count) -> None:
    """Keep what a loop came to if it was a long one; the last of them writes the result."""
    if count["kills"] >= LOOPS[loop][1]:
        _found[loop] = count
    if _found.keys() == LOOPS.keys():
        _write()


def _write() -> None:
    rows = [{"row": row, "killed": loop, **_found[loop]} for loop, (row, _) in LOOPS.items()]
    headline = {name: sum(count.get(name, 0) for count in _found.values()) for name in ("kills", *Count.HARM)}
    environment = {**describe_environment(), "command": " ".join(["python -m pytest", *sys.argv[1:]])}
    document = {"schema": "weightsmith.benchmark/1", "headline": headline, "rows": rows, "environment": environment}
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
