"""Do the dense model of the note and the span model agree on the training pairs once both have converged?

With Adam the span model converges in a few hundred updates. The dense model does not: its first layer sums 421,642
inputs, one update of the note's size moves those sums by more than they are large, and soon its hidden units answer
alike to every input (`feature_rank` 1), so that the best it can say is the mean of the targets. What it could represent
is therefore computed: from its initialisation, the last layer, in which the loss is quadratic, is solved by least
squares, where gradient descent on that layer would end.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

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

EPOCHS = {"span": 900, "dense": 50}  # the dense model: the note's own budget, after which it is constant
ROWS = 4096  # of the last layer, solved at a time


def main() -> None:
    options = parser("transition_converged", (__doc__ or "").splitlines()[0])
    arguments = options.parse_args()
    rows = [converge(name, arguments.dataset) for name in CODECS]
    span, dense = rows
    pairs = list(zip(span["pair_accuracies"], dense["pair_accuracies"], strict=True))
    headline = {
        "span_relative_loss": span["relative_loss"],
        "dense_relative_loss": dense["relative_loss"],
        "dense_adam_relative_loss": dense["adam_relative_loss"],
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
    trainer.run(EPOCHS[name])
    trainer.optimizer.close()
    adam = relative_error(predictions(synthesizer, pairs, weights), weights)
    rank = int(torch.linalg.matrix_rank(features_of(synthesizer.generator.network, pairs)))
    print(f"{name}: relative loss {adam:.3g}, feature rank {rank}", file=sys.stderr, flush=True)
    if name == "dense":
        del trainer
        synthesizer = Synthesizer.fit(
            weights, architecture, CODECS[name], Part("transition"), derive_seed(0, "benchmark")
        )
        solve_last_layer(synthesizer.generator.network, pairs)
    data, precision = load_dataset(dataset), choose_precision("auto", torch.device("cpu"))
    module = architecture.build(0)
    predicted = predictions(synthesizer, pairs, weights)
    found = evaluate(module, predicted, data.test, precision=precision)
    originals = evaluate(module, weights[1:], data.test, precision=precision)
    return {
        "model": name,
        "relative_loss": relative_error(predicted, weights),
        "adam_relative_loss": adam,
        "feature_rank": rank,
        "epochs": EPOCHS[name],
        "pair_accuracies": [evaluation.accuracy for evaluation in found],
        "original_accuracies": [evaluation.accuracy for evaluation in originals],
    }


def features_of(network: nn.Module, pairs: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the last layer sees of each pair, and a one for its bias, in float64."""
    with torch.no_grad():
        features = torch.cat([pairs["now"], network.time(pairs["time"][:, None])], dim=1)
        for layer in list(network.body)[:-1]:
            features = layer(features)
    return torch.cat([features, torch.ones(len(features), 1)], dim=1).double()


def solve_last_layer(network: nn.Module, pairs: dict[str, torch.Tensor]) -> None:
    """Move the last layer to the nearest minimiser of the squared error on the pairs: `W += R^T (A A^T)^-1 A`.

    A are the features that it sees (a one for the bias beside them), R what the model still lacks, one row a pair.
    """
    last = network.body[-1]
    features = features_of(network, pairs)
    with torch.no_grad():
        for _ in range(4):  # again for what rounding to float32 left over
            lacking = (pairs["next"] - network(pairs["now"], pairs["time"])).double()
            shares = torch.linalg.solve(features @ features.T, lacking)  # (pair, output)
            for start in range(0, len(last.weight), ROWS):
                step = (shares[:, start : start + ROWS].T @ features).float()
                last.weight[start : start + ROWS] += step[:, :-1]
                last.bias[start : start + ROWS] += step[:, -1]


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
