"""The synthesizers that come with the package: experiments of `benchmarks.diffusion`, made compact and measured."""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path

import weightsmith as ws
from benchmarks.diffusion import BUDGET, conduct
from benchmarks.diffusion_experiments import EXPERIMENTS
from benchmarks.harness import WORK, median_rate, parser, write_result
from weightsmith.pipeline import RunFolder
from weightsmith.pretrained import synthesizer_folder

MADE_FROM = {"mnist-mlp": "shipped"}
SAMPLES = 256


def main() -> None:
    options = parser("pretrained", __doc__ or "")
    options.add_argument("--into", type=Path, help="where their folders are written; without it, into the package")
    wanted = options.parse_args()
    work, rows = WORK / "diffusion", []
    for name in MADE_FROM:
        experiment = MADE_FROM[name]
        about = conduct(experiment, EXPERIMENTS[experiment], work, wanted.dataset)
        folder = wanted.into / name if wanted.into else Path(ws.__file__).parent / "pretrained" / name
        shutil.rmtree(folder, ignore_errors=True)
        ws.Synthesizer.load(RunFolder.open(work / experiment).synthesizer(0, BUDGET)).save(folder, compact=True)
        rows += [{"kind": "shipped", "name": name, **measured(folder, wanted.dataset)}, *about]
    headline = {
        f"{row['name']}_{key}": row[key]
        for row in rows
        if row["kind"] == "shipped"
        for key in ("megabytes", "accuracy_mean", "accuracy_min", "samples_per_second")
    }
    write_result(wanted.json, headline, rows)


def measured(folder: Path, dataset: str) -> dict[str, float]:
    """Accuracy on test images of unselected samples of what was written, its size and its rate."""
    synthesizer, data = ws.Synthesizer.load(synthesizer_folder(folder)), ws.load_dataset(dataset)
    found = ws.evaluate(synthesizer.architecture.build(0), synthesizer.sample(SAMPLES, seed=1), data.test)
    accuracies = [one.accuracy for one in found]
    return {
        "megabytes": sum(path.stat().st_size for path in folder.iterdir()) / 1e6,
        "samples": SAMPLES,
        "accuracy_mean": statistics.fmean(accuracies),
        "accuracy_sd": statistics.stdev(accuracies),
        "accuracy_min": min(accuracies),
        "samples_per_second": median_rate(lambda seed: len(synthesizer.sample(SAMPLES, seed=seed)), 5)["median"],
    }


if __name__ == "__main__":
    sys.exit(main())
