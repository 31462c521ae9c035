"""The dense transition model of the note against the same form on span coordinates, at the note's own budget."""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import torch

from benchmarks.harness import in_own_process, parser, peak_rss_mb, trained_zoo, write_result
from weightsmith.architectures import Architecture
from weightsmith.datasets import load_dataset
from weightsmith.ensemble import choose_precision, evaluate
from weightsmith.layout import Weights
from weightsmith.objectives.transition import transition_loss, transition_pairs
from weightsmith.seeds import derive_seed
from weightsmith.synthesizer import Part, Synthesizer
from weightsmith.training import Trainer

EPOCHS = 50  # the note's: 50 passes over 5 pairs in batches of 4 are 100 updates
LEARNING_RATE = 1e-4
BATCH_SIZE = 4
INITS = 5
CODECS = {"span": Part("span"), "dense": Part("flat", {"standardise": False})}
PLAIN_UPDATES = 6


def main() -> None:
    options = parser("transition", __doc__ or "")
    options.add_argument("--measure", choices=[*CODECS, "plain", "fused"], help="(internal) one measurement")
    arguments = options.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.dataset)))
        return
    trained_zoo(arguments.dataset)
    rows = [
        in_own_process("benchmarks.transition", "--measure", what, "--dataset", arguments.dataset)
        for what in ("span", "dense", "fused", "plain")
    ]
    span, dense = rows[0], rows[1]
    headline = {
        "dense_seconds_per_update": dense["seconds_per_update"],
        "span_seconds_per_update": span["seconds_per_update"],
        "dense_peak_rss_mb": dense["peak_rss_mb"],
        "span_peak_rss_mb": span["peak_rss_mb"],
        "dense_step1_accuracy": dense["step_accuracies"][0],
        "span_step1_accuracy": span["step_accuracies"][0],
        "time_ratio": dense["seconds_per_update"] / span["seconds_per_update"],
        "memory_ratio": dense["peak_rss_mb"] / span["peak_rss_mb"],
    }
    write_result(arguments.json, headline, rows)


def measure(what: str, dataset: str) -> dict[str, Any]:
    """One model at the note's budget (or a few updates with PyTorch's own Adam), in this process alone."""
    weights, _ = trained_zoo(dataset).trajectory(0)
    codec = CODECS.get(what, CODECS["dense"])
    architecture = Architecture("target_cnn", (1, 28, 28), 10)
    synthesizer = Synthesizer.fit(weights, architecture, codec, Part("transition"), seed=derive_seed(0, "benchmark"))
    pairs = transition_pairs(synthesizer.codec.encode(weights))
    if what in ("plain", "fused"):
        seconds = _with_torch_adam(synthesizer, pairs, fused=what == "fused")
        return {"model": "dense", "optimizer": f"torch.optim.Adam ({what})", **_timing(seconds)}
    seconds, started = [], time.perf_counter()

    def note_time(progress: Any) -> None:
        nonlocal started
        now = time.perf_counter()
        seconds.append((now - started) / 2)  # two updates an epoch
        started = now

    trainer = Trainer(synthesizer.generator, transition_loss, pairs, BATCH_SIZE, LEARNING_RATE, 0, on_epoch=note_time)
    progress = trainer.run(EPOCHS)
    timing = _timing(seconds)  # before the images are loaded: memory is that of the training
    return {
        "model": what,
        "optimizer": "weightsmith.optim.OuterProductAdam",
        "updates": progress.updates,
        "parameters": sum(p.numel() for p in synthesizer.generator.network.parameters()),
        "relative_loss": trainer.loss() / _loss_of_the_mean(pairs),
        **timing,
        **_accuracies(synthesizer, architecture, dataset),
    }


def _with_torch_adam(synthesizer: Synthesizer, pairs: dict[str, torch.Tensor], fused: bool) -> list[float]:
    """Seconds of each update of the same model with PyTorch's Adam."""
    optimizer = torch.optim.Adam(synthesizer.generator.network.parameters(), LEARNING_RATE, fused=fused)
    batch, rng, seconds = {k: v[:BATCH_SIZE] for k, v in pairs.items()}, torch.Generator(), []
    for _ in range(PLAIN_UPDATES):
        started = time.perf_counter()
        optimizer.zero_grad()
        transition_loss(synthesizer.generator, batch, rng).loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    return seconds


def _timing(seconds: list[float]) -> dict[str, float]:
    """The median and quartiles; the first few, which fault in the memory, are left out."""
    settled = seconds[2:]
    low, middle, high = statistics.quantiles(settled, n=4)
    return {
        "seconds_per_update": middle,
        "seconds_per_update_low": low,
        "seconds_per_update_high": high,
        "peak_rss_mb": peak_rss_mb(),
    }


def _accuracies(synthesizer: Synthesizer, architecture: Architecture, dataset: str) -> dict[str, Any]:
    """Test accuracies from unseen inits, averaged, for steps 1 and 2; and how far their outputs differ."""
    data = load_dataset(dataset)
    inits = Weights.of(*[architecture.build(derive_seed(1, "unseen init", i)) for i in range(INITS)])
    states = synthesizer.trajectory(INITS, start=inits, steps=2)[1:]
    precision = choose_precision("auto", torch.device("cpu"))
    module = architecture.build(0)
    found = [[e.accuracy for e in evaluate(module, state, data.test, precision=precision)] for state in states]
    first, second = states[0].vectors[:2]
    return {
        "step_accuracies": [statistics.fmean(accuracies) for accuracies in found],
        "step_accuracies_std": [statistics.stdev(accuracies) for accuracies in found],
        "relative_difference_of_two_outputs": float((first - second).norm() / first.norm()),
    }


def _loss_of_the_mean(pairs: dict[str, torch.Tensor]) -> float:
    return float((pairs["next"] - pairs["next"].mean(dim=0)).square().mean())


if __name__ == "__main__":
    sys.exit(main())
