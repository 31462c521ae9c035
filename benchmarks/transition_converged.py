"""Do the dense model of the note and the span model agree on the training pairs once both have converged?

At the note's learning rate the dense model needs some hundred updates to unlearn its own random biases, which are
larger than the steps between checkpoints, and then keeps moving: so the rate is lowered in stages, the same for both,
until the error no longer falls.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

from benchmarks.harness import parser, trained_zoo, write_result
from benchmarks.transition import BATCH_SIZE, CODECS, LEARNING_RATE
from weightsmith.architectures import Architecture
from weightsmith.datasets import load_dataset
from weightsmith.ensemble import choose_precision, evaluate
from weightsmith.layout import Weights
from weightsmith.objectives.transition import transition_loss, transition_pairs
from weightsmith.seeds import derive_seed
from weightsmith.synthesizer import Part, Synthesizer
from weightsmith.tokens import Tokens
from weightsmith.training import Trainer

STAGES = ((1e-4, 150), (3e-5, 50), (1e-5, 75), (3e-6, 75), (1e-6, 75))  # learning rate, epochs
SPAN_EPOCHS = 4  # the span model is cheap, and its coordinates are larger: four times the epochs of each stage


def main() -> None:
    options = parser("transition_converged", (__doc__ or "").splitlines()[0])
    arguments = options.parse_args()
    rows = [converge(name, arguments.dataset) for name in CODECS]
    span, dense = rows
    pairs = list(zip(span["pair_accuracies"], dense["pair_accuracies"], strict=True))
    headline = {
        "span_relative_loss": span["relative_loss"],
        "dense_relative_loss": dense["relative_loss"],
        "relative_loss_difference": abs(span["relative_loss"] - dense["relative_loss"]),
        "max_pair_accuracy_difference": max(abs(a - b) for a, b in pairs),
    }
    write_result(arguments.json, headline, rows)


def converge(name: str, dataset: str) -> dict[str, Any]:
    """Train through all stages, then score each prediction (epoch N -> N + 1) on the test images."""
    weights, _ = trained_zoo(dataset).trajectory(0)
    architecture = Architecture("target_cnn", (1, 28, 28), 10)
    synthesizer = Synthesizer.fit(weights, architecture, CODECS[name], Part("transition"), derive_seed(0, "benchmark"))
    pairs = transition_pairs(synthesizer.codec.encode(weights))
    trainer = Trainer(synthesizer.generator, transition_loss, pairs, BATCH_SIZE, LEARNING_RATE, 0)
    history = []
    for rate, epochs in STAGES:
        trainer.optimizer.learning_rate = rate
        trainer.run(trainer.progress.epoch + epochs * (SPAN_EPOCHS if name == "span" else 1))
        relative = relative_error(predictions(synthesizer, pairs, weights), weights)
        history.append({"learning_rate": rate, "updates": trainer.progress.updates, "relative_loss": relative})
        print(f"{name}: {history[-1]}", file=sys.stderr, flush=True)
    data, precision = load_dataset(dataset), choose_precision("auto", torch.device("cpu"))
    module = architecture.build(0)
    predicted = predictions(synthesizer, pairs, weights)
    found = evaluate(module, predicted, data.test, precision=precision)
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


def predictions(synthesizer: Synthesizer, pairs: dict[str, torch.Tensor], weights: Weights) -> Weights:
    """What the model answers for each training pair, as weights."""
    with torch.no_grad():
        predicted = synthesizer.generator.network(pairs["now"], pairs["time"])
    return synthesizer.codec.decode(Tokens.single(predicted), weights.layout)


def relative_error(predicted: Weights, weights: Weights) -> float:
    """Squared error on the pairs over that of answering with the mean of the targets, both in weights."""
    targets = weights.vectors[1:].double()
    error = (predicted.vectors.double() - targets).square().sum()
    return float(error / (targets - targets.mean(dim=0)).square().sum())


if __name__ == "__main__":
    sys.exit(main())
