"""One layer of held-out networks, generated given the rest, beside the best that a training network offers for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from weightsmith.layout import Layout, Weights, layers_of
from weightsmith.pipeline.bench import Fact
from weightsmith.pipeline.population.audit import Audit
from weightsmith.seeds import derive_seed


def given_facts(audit: Audit, layer: str) -> Iterator[Fact]:
    """For some held-out networks: accuracy with the layer generated, with that of the best training network, its own.

    All are made canonical by the codec first, so that units of different networks stand for one another. The training
    network is the one whose layer does best *on validation images*; nothing is chosen on test.
    """
    synthesizer, bench = audit.synthesizer, audit.bench
    held_out = audit.member.read(bench.zoo, "held_out", finals=True)[: bench.settings.given]
    rest = [name for name in layers_of(synthesizer.layout) if name != layer]
    seed = derive_seed(bench.run.recipe.seed, "given", layer)
    canonical = synthesizer.canonical(held_out)
    generated = synthesizer.sample(len(held_out), given=held_out, layers=rest, seed=seed, **audit.member.asked)
    training = synthesizer.canonical(audit.member.read(bench.zoo, "train", finals=True))
    best = Weights.concatenate([_best_layer(audit, one, training, layer) for one in canonical])
    found = [audit.measured(weights, complete=True).evaluations for weights in (generated, best, canonical)]
    for i, (new, borrowed, own) in enumerate(zip(*found, strict=True)):
        numbers = [audit.accuracy(one) for one in (new, borrowed, own)]
        metrics = dict(zip(("accuracy", "best_training_accuracy", "own_accuracy"), numbers, strict=True))
        gain = None if None in numbers[:2] else numbers[0] - numbers[1]  # type: ignore[operator]
        yield Fact("given", {"member": audit.member.name, "layer": layer, "network": i}, {**metrics, "gain": gain})


def _best_layer(audit: Audit, network: Weights, training: Weights, layer: str) -> Weights:
    """The network with the layer of that training network which does best in its place on validation images."""
    columns = columns_of(network.layout, [layer])
    vectors = network.vectors.expand(len(training), -1).clone()
    vectors[:, columns] = training.vectors[:, columns]
    tried = Weights.generated(network.layout, vectors)
    accuracies = audit.validation_accuracies(tried)
    return tried[int(torch.tensor(accuracies).argmax())]


def columns_of(layout: Layout, layers: Sequence[str]) -> torch.Tensor:
    """Where the numbers of some layers stand in a network's vector."""
    spans = [
        torch.arange(*layout.offsets[spec.name])
        for spec in layout.floating
        if any(spec.name == name or spec.name.startswith(f"{name}.") for name in layers)
    ]
    return torch.cat(spans)
