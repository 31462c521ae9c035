"""Do the dense model and the span model agree on the training pairs once both have converged?

Both are trained with the note's batches and learning rate until the loss on the pairs is a small share of that of
answering with the mean. The dense model is resumed where an earlier call stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import WORK, parser, trained_zoo, write_result
from benchmarks.transition import BATCH_SIZE, CODECS, LEARNING_RATE
from weightsmith.architectures import Architecture
from weightsmith.datasets import load_dataset
from weightsmith.ensemble import choose_precision, evaluate
from weightsmith.objectives.transition import transition_loss, transition_pairs
from weightsmith.seeds import derive_seed
from weightsmith.synthesizer import Part, Synthesizer
from weightsmith.training import Trainer

ENOUGH = 1e-3  # relative loss at which training stops
EVERY = 25  # epochs between looks at the loss


def main() -> None:
    options = parser("transition_converged", (__doc__ or "").splitlines()[0])
    options.add_argument("--max-epochs", type=int, default=3000, help="stop here at the latest")
    arguments = options.parse_args()
    rows = [converge(name, arguments.dataset, arguments.max_epochs) for name in CODECS]
    span, dense = rows
    pairs = list(zip(span["pair_accuracies"], dense["pair_accuracies"], strict=True))
    headline = {
        "span_relative_loss": span["relative_loss"],
        "dense_relative_loss": dense["relative_loss"],
        "relative_loss_difference": abs(span["relative_loss"] - dense["relative_loss"]),
        "max_pair_accuracy_difference": max(abs(a - b) for a, b in pairs),
    }
    write_result(arguments.json, headline, rows)


def converge(name: str, dataset: str, max_epochs: int) -> dict[str, Any]:
    """Train until the relative loss is small, then score each prediction (epoch N -> N + 1) on the test images."""
    weights, _ = trained_zoo(dataset).trajectory(0)
    architecture = Architecture("target_cnn", (1, 28, 28), 10)
    synthesizer = Synthesizer.fit(weights, architecture, CODECS[name], Part("transition"), derive_seed(0, "benchmark"))
    pairs = transition_pairs(synthesizer.codec.encode(weights))
    mean_loss = float((pairs["next"] - pairs["next"].mean(dim=0)).square().mean())
    state = Path(WORK) / f"converged-{name}-{dataset}.safetensors"
    trainer = Trainer(synthesizer.generator, transition_loss, pairs, BATCH_SIZE, LEARNING_RATE, 0, state)
    history = []
    while trainer.progress.epoch < max_epochs and (not history or history[-1]["relative_loss"] > ENOUGH):
        trainer.run(trainer.progress.epoch + EVERY)
        relative = trainer.loss() / mean_loss
        history.append({"updates": trainer.progress.updates, "relative_loss": relative})
        print(f"{name}: {history[-1]}", file=sys.stderr, flush=True)
    with torch.no_grad():
        predicted = synthesizer.generator.network(pairs["now"], pairs["time"])
    token = synthesizer.codec.encode(weights[:1])
    decoded = [synthesizer.codec.decode(token.replace(vector[None, None, :]), weights.layout) for vector in predicted]
    data, precision = load_dataset(dataset), choose_precision("auto", torch.device("cpu"))
    module = architecture.build(0)
    found = [evaluate(module, network, data.test, precision=precision)[0] for network in decoded]
    originals = evaluate(module, weights[1:], data.test, precision=precision)
    return {
        "model": name,
        "relative_loss": history[-1]["relative_loss"],
        "updates": trainer.progress.updates,
        "seconds": trainer.progress.seconds,
        "pair_accuracies": [evaluation.accuracy for evaluation in found],
        "original_accuracies": [evaluation.accuracy for evaluation in originals],
        "history": history,
    }


if __name__ == "__main__":
    sys.exit(main())
