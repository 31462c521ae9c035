"""What is drawn of an architecture of each family: its sizes, from those that a split allows, and its operations."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Split = Literal["training", "unseen_size", "beyond", "unseen_combination", "held_out_family"]
ACTIVATIONS = ("relu", "gelu", "silu", "tanh")
LEFT_OUT = 4  # layers or blocks: never trained on, while three and five are


@dataclass(frozen=True)
class Sizes:
    """The widths that a split draws from, in steps, and which depths."""

    split: Split

    def width(self, rng: random.Random, low: int, high: int, step: int) -> int:
        """A multiple of `step`: each fourth one is left out of training, and what `unseen_size` draws."""
        if self.split == "beyond":
            return step * rng.randint(high // step + 1, high * 3 // (2 * step))
        unseen = self.split == "unseen_size"
        choices = [n for n in range(low // step, high // step + 1) if (n % 4 == 3) == unseen]
        # Training draws narrow layers more often than wide ones: they cost less, and codes know no width.
        return step * rng.choices(choices, [1 / n if self.split == "training" else 1 for n in choices])[0]

    def depth(self, rng: random.Random, trained: Sequence[int]) -> int:
        if self.split == "beyond":
            return max(trained) * 3 // 2
        return LEFT_OUT if self.split == "unseen_size" else rng.choice(trained)


def _mlp(rng: random.Random, sizes: Sizes) -> dict[str, Any]:
    depth = sizes.depth(rng, (1, 2, 3, 5))
    return {
        "hidden": [sizes.width(rng, 64, 256, 16) for _ in range(depth)],
        "activation": rng.choice(ACTIVATIONS),
        "norm": rng.choice(("none", "none", "layer", "batch")),
    }


def _cnn(rng: random.Random, sizes: Sizes) -> dict[str, Any]:
    depth = sizes.depth(rng, (2, 3, 5))
    first, widest = sizes.width(rng, 16, 40, 4), sizes.width(rng, 32, 64, 4)
    head = "flatten" if depth == 2 else rng.choice(("flatten", "average"))
    return {
        "channels": [first, *(widest for _ in range(depth - 1))],
        "kernel": rng.choice((3, 3, 5)) if depth < 4 else 3,
        "groups": rng.choice((1, 1, 2, 4)),
        "activation": rng.choice(ACTIVATIONS),
        "norm": rng.choice(("none", "none", "batch", "group", "layer")),
        "pool": rng.choice(("max", "average", "stride", "depthwise")),
        "head_kind": head,
        "hidden": rng.choice((0, sizes.width(rng, 64, 192, 16))),
    }


def _residual(rng: random.Random, sizes: Sizes) -> dict[str, Any]:
    first = sizes.width(rng, 16, 48, 4)
    deep = sizes.depth(rng, (2, 3, 5))
    early = rng.randint(1, deep - 1)
    return {
        "channels": [first, sizes.width(rng, 32, 64, 4)],
        "blocks": [early, deep - early],
        "bottleneck": rng.random() < 0.3,
        "group_width": rng.choice((0, 0, 2, 4)),
        "activation": rng.choice(ACTIVATIONS),
        "norm": rng.choice(("none", "batch", "batch", "group", "layer")),
        "head_kind": rng.choice(("average", "average", "flatten")),
    }


# How tokens come to know of each other: by attention, or by the head alone.
_LOOKING_AROUND: tuple[dict[str, Any], ...] = (
    *({"heads": heads, "pool": pool} for heads in (2, 4) for pool in ("average", "average", "token", "linear")),
    {"heads": 0, "pool": "linear"},
    {"heads": 0, "pool": "linear", "positions": False},
)


def _vit(rng: random.Random, sizes: Sizes) -> dict[str, Any]:
    around = dict(rng.choice(_LOOKING_AROUND))
    # With a class token in training alone: the other splits stand as they were drawn at first.
    latent = around["heads"] and (around["pool"] != "token" or sizes.split == "training")
    if latent and rng.random() < 0.6:
        around |= {"latents": sizes.width(rng, 16, 96, 8), "positions": rng.random() < 0.5}
    drawn = {
        "patch": rng.choice((4, 7)),
        "dim": sizes.width(rng, 32, 96, 8),
        "depth": sizes.depth(rng, (1, 1, 2, 2, 3, 5)),
        "ratio": 2,
        "activation": rng.choice(ACTIVATIONS),
        **around,
    }
    return drawn | (_spelled(rng, drawn) if sizes.split == "training" else {})


def _spelled(rng: random.Random, drawn: dict[str, Any]) -> dict[str, Any]:
    """Attention as it is written in many ways, in training alone, too: the other splits stand as they were drawn."""
    if not drawn["heads"]:
        return {}
    return {
        "projections": rng.choice(("packed", "chunked", "separate")),
        "norm_first": rng.random() < 0.75,
        "heads": drawn["heads"] if rng.random() < 0.85 else 1,
    }


def _axial(rng: random.Random, sizes: Sizes) -> dict[str, Any]:
    depth = sizes.depth(rng, (1, 2, 3, 5))
    return {
        "widths": [sizes.width(rng, 24, 64, 4) for _ in range(depth)],
        "activation": rng.choice(ACTIVATIONS),
        "hidden": rng.choice((0, sizes.width(rng, 64, 128, 16))),
        "residual": rng.random() < 0.5,
    }


# Blocks of hybrids, and how often. Those over channels alone never follow a depthwise one: the two make the
# depthwise-separable networks that are held out.
_OVER_CHANNELS = {"pointwise": 1, "perceptron": 2}
_OVER_PLACES = {"convolution": 2, "grouped": 1, "depthwise": 3, "rows": 2, "columns": 2, "attention": 1}


def _hybrid(rng: random.Random, sizes: Sizes) -> dict[str, Any]:
    pool, halved_before = rng.choice(("max", "average", "depthwise")), rng.randint(0, 1)
    blocks: list[str] = []
    for i in range(sizes.depth(rng, (2, 3, 5))):
        filtered = blocks[-1:] == ["depthwise"] or (i == halved_before and pool == "depthwise")
        kinds = _OVER_PLACES if filtered else {**_OVER_PLACES, **_OVER_CHANNELS}
        blocks += rng.choices(list(kinds), list(kinds.values()))
    sees_far = sum(kind in _OVER_PLACES and kind != "depthwise" for kind in blocks) >= 2
    return {
        "width": sizes.width(rng, 24, 64, 4),
        "blocks": blocks,
        "hidden": sizes.width(rng, 16, 48, 4),
        "activation": rng.choice(ACTIVATIONS),
        "norm": rng.choice(("none", "batch", "batch", "group", "layer")),
        "residual": rng.random() < 0.5,
        "pool": pool,
        "halved_before": halved_before,
        "head_kind": rng.choice(("flatten", "quarters", "average", "average") if sees_far else ("flatten", "quarters")),
    }


# Perceptrons over tokens never meet one over features: the two make the MLP-mixers that are held out.
_OVER_TOKENS = {"perceptron": 3, "attention": 1, "latents": 1}


def _tokens(rng: random.Random, sizes: Sizes) -> dict[str, Any]:
    return {
        "patch": rng.choice((4, 7)),
        "dim": sizes.width(rng, 32, 96, 8),
        "blocks": rng.choices(list(_OVER_TOKENS), list(_OVER_TOKENS.values()), k=sizes.depth(rng, (1, 2, 3))),
        "hidden": sizes.width(rng, 32, 96, 8),
        "heads": rng.choice((2, 4)),
        "activation": rng.choice(ACTIVATIONS),
        "pool": rng.choice(("average", "average", "linear")),
        "positions": rng.random() < 0.3,
    }


def _medley(rng: random.Random, sizes: Sizes) -> dict[str, Any]:
    """What `COMBINATIONS` keeps apart in other families is kept apart here: in a layer, or in a network."""
    chance = rng.random()
    if chance > 0.7:
        return _narrow(rng, sizes)
    if chance < 0.3:
        return {**_convolved(rng, sizes, 0, "flatten"), **_dense(rng, sizes, sizes.depth(rng, (1, 2, 3, 5)), 256)}
    depth = sizes.depth(rng, (2, 3, 5))
    head = rng.choice(
        ("flatten", "quarters") if depth == 2 else ("flatten", "quarters", "quarters", "average", "average")
    )
    return {**_convolved(rng, sizes, depth, head), **_dense(rng, sizes, rng.choice((0, 0, 1, 2)), 192)}


def _narrow(rng: random.Random, sizes: Sizes) -> dict[str, Any]:
    """Few units a layer, most often without padding, as in LeNets: convolutions and perceptrons, or these alone."""
    depth, wide = sizes.depth(rng, (0, 1, 2, 2, 3)), rng.random() < 0.3
    head = rng.choice(("flatten", "flatten", "average")) if depth > 2 else "flatten"
    padded = rng.random() < 0.3
    layers = _convolved(rng, sizes, depth, head, _WIDE if wide else _NARROW, adding=0.4 if padded else 0.0)
    dense = _dense(rng, sizes, rng.choice((0, 1, 1, 2)) if depth else rng.choice((1, 2, 3)), 128, 16, 4)
    return {**layers, **dense, "padded": padded}


Bounds = tuple[int, int, int]  # the least, the most, and steps
# Channels of a first convolution, and of others.
_WIDE: tuple[Bounds, Bounds] = (16, 40, 4), (32, 64, 4)
_NARROW: tuple[Bounds, Bounds] = (4, 24, 4), (8, 32, 4)


def _convolved(
    rng: random.Random,
    sizes: Sizes,
    depth: int,
    head: str,
    channels: tuple[Bounds, Bounds] = _WIDE,
    adding: float = 0.4,
) -> dict[str, Any]:
    adds, halved = rng.random() < adding and depth > 0, rng.sample(range(min(depth, 3)), min(depth, 2))
    kinds = _kinds(rng, depth, head)
    widths: list[int] = []
    norms: list[str] = []
    activations: list[str] = []
    for i, kind in enumerate(kinds):
        changes = not i or (kind != "depthwise" and rng.random() < 0.5)
        widths.append(sizes.width(rng, *channels[min(i, 1)]) if changes else widths[-1])
        norms.append(rng.choice(("none", "batch", "layer", "layer" if adds and head == "flatten" else "group")))
        never = {"tanh"} if adds or norms[-1] == "group" else set()
        never |= {"silu"} if kind == "grouped" else set()
        activations.append(rng.choice([name for name in ACTIVATIONS if name not in never]))
    pools = ("stride", "max") if "batch" in norms else ("stride", "max", "average")
    return {
        "kinds": kinds,
        "widths": widths,
        "norms": norms,
        "activations": activations,
        "halvings": [rng.choice(pools) if i in halved else "none" for i in range(depth)],
        "adds": adds,
        "head_kind": head,
    }


def _kinds(rng: random.Random, depth: int, head: str) -> list[str]:
    """Of convolutions in a row, at least two of which see far where their average is all that is read.

    Filters a channel are met most with such heads, in front of which separable networks have little else that sees.
    """
    kinds: list[str] = []
    while len(kinds) < depth or (head == "average" and sum(kind in ("convolution", "grouped") for kind in kinds) < 2):
        kinds = kinds if len(kinds) < depth else []
        weights = {"convolution": 4, "large": 0 if head == "average" else 2}
        if kinds:
            filters = 2 if head == "flatten" else 4
            weights |= {"grouped": 2, "depthwise": filters, "pointwise": 0 if kinds[-1] == "depthwise" else 2}
        kinds += rng.choices(list(weights), list(weights.values()))
    return kinds


def _dense(rng: random.Random, sizes: Sizes, depth: int, most: int, least: int = 64, step: int = 16) -> dict[str, Any]:
    norms = [rng.choice(("none", "none", "layer", "batch")) for _ in range(depth)]
    never = {"layer": "gelu", "batch": "tanh"}
    return {
        "dense": [sizes.width(rng, least, most, step) for _ in range(depth)],
        "dense_norms": norms,
        "dense_activations": [rng.choice([a for a in ACTIVATIONS if a != never.get(norm)]) for norm in norms],
    }


def _separable(rng: random.Random, sizes: Sizes) -> dict[str, Any]:
    width = sizes.width(rng, 32, 64, 4)
    return {
        "channels": [sizes.width(rng, 16, 48, 4), *(width for _ in range(rng.choice((2, 3, 4))))],
        "activation": rng.choice(ACTIVATIONS),
        "norm": rng.choice(("batch", "batch", "group", "layer", "none")),
        "residual": rng.random() < 0.4,
        "head_kind": rng.choice(("average", "flatten")),
    }


def _mixer(rng: random.Random, sizes: Sizes) -> dict[str, Any]:
    return {
        "patch": rng.choice((4, 7)),
        "dim": sizes.width(rng, 32, 96, 8),
        "depth": rng.choice((1, 2, 4)),
        "token_hidden": sizes.width(rng, 32, 96, 8),
        "ratio": 2,
        "activation": rng.choice(ACTIVATIONS),
    }


FAMILIES: dict[str, Callable[[random.Random, Sizes], dict[str, Any]]] = {
    "mlp": _mlp,
    "cnn": _cnn,
    "residual": _residual,
    "vit": _vit,
    "axial": _axial,
    "hybrid": _hybrid,
    "tokens": _tokens,
    "medley": _medley,
    "separable": _separable,
    "mixer": _mixer,
}
