"""How long the program takes to answer where it needs no torch: help, a mistake in a recipe, a dry run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import parser, write_result

REPEATS = 15
COMMANDS = {
    "help": ["--help"],
    "version": ["--version"],
    "recipe_error": ["run", "mnist-trajectory", "zoo.runz=3"],
    "dry_run": ["run", "mnist-trajectory", "--dry-run"],
}


def main() -> None:
    arguments = parser("startup", __doc__ or "").parse_args()
    program = Path(sys.executable).with_name("weightsmith")
    rows = []
    for name, options in COMMANDS.items():
        seconds = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            subprocess.run([str(program), *options], capture_output=True, check=False)
            seconds.append(time.perf_counter() - started)
        rows.append({"command": name, "seconds": statistics.median(seconds), "slowest": max(seconds)})
    write_result(arguments.json, {f"{row['command']}_seconds": row["seconds"] for row in rows}, rows)


if __name__ == "__main__":
    sys.exit(main())
