"""The main job from nothing to its report: what it measures, and how long each stage takes."""

from __future__ import annotations

import shutil
import sys
import time

from benchmarks.harness import WORK, parser, write_result
from weightsmith.pipeline import STAGES, RunFolder
from weightsmith.report.trajectory.verdict import headline_numbers
from weightsmith.reporter import Silent
from weightsmith.settings.loading import load_recipe


def main() -> None:
    arguments = parser("trajectory", __doc__ or "").parse_args()
    folder = WORK / f"main-job-{arguments.dataset}"
    shutil.rmtree(folder, ignore_errors=True)
    recipe = load_recipe("mnist-trajectory", [f"dataset={arguments.dataset}"])
    started = time.perf_counter()
    run = RunFolder.prepare(folder, recipe)
    seconds = {}
    for name, stage in STAGES.items():
        before = time.perf_counter()
        stage.do(run, Silent())
        seconds[f"{name}_seconds"] = time.perf_counter() - before
        print(f"{name}: {seconds[f'{name}_seconds']:.1f} s", file=sys.stderr, flush=True)
    total = time.perf_counter() - started
    summary = run.summary
    numbers = headline_numbers(summary, recipe.training.headline)
    for budget in summary.budgets:
        for step in (1, 2):
            numbers[f"{budget}_step{step}_accuracy"] = (summary.step(budget, step) or {}).get("accuracy_mean")
    write_result(arguments.json, {**numbers, **seconds, "total_seconds": total}, summary.rows())


if __name__ == "__main__":
    sys.exit(main())
