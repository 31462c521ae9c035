"""Which architectures are drawn: the families, their sizes, and what is left out of training for each question.

Splits, fixed: `training`; `unseen_size` (all widths, and depths where a family has several, left out of training,
inside its range); `beyond` (up to 1.5 times the largest width or depth); `unseen_combination` (operations that
training sees apart, never together); `held_out_family` (depthwise-separable networks and MLP-mixers).

Whoever trains on other `families` than `TRAINED` has the same splits of those, and the rest as held-out families.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from weightsmith.architectures.architecture import Architecture
from weightsmith.errors import BadInput
from weightsmith.seeds import derive_seed

Split = Literal["training", "unseen_size", "beyond", "unseen_combination", "held_out_family"]
SPLITS: tuple[Split, ...] = ("training", "unseen_size", "beyond", "unseen_combination", "held_out_family")
TRAINED = {"mlp": 2, "cnn": 3, "residual": 4, "vit": 5, "axial": 2, "hybrid": 6}  # how often each is drawn
HELD_OUT = {"separable": 1, "mixer": 1}
ACTIVATIONS = ("relu", "gelu", "silu", "tanh")
LEFT_OUT = 4  # layers or blocks: never trained on, while three and five are
SMALLEST = 4  # height and width of images: two halvings

# Never together in training; each value by itself is.
COMBINATIONS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("mlp", {"norm": "layer", "activation": "gelu"}),
    ("mlp", {"norm": "batch", "activation": "tanh"}),
    ("cnn", {"norm": "group", "activation": "tanh"}),
    ("cnn", {"norm": "batch", "pool": "average"}),
    ("cnn", {"groups": 4, "activation": "silu"}),
    ("cnn", {"kernel": 5, "head_kind": "average"}),
    ("residual", {"activation": "tanh"}),
    ("residual", {"norm": "group", "head_kind": "flatten"}),
    ("residual", {"bottleneck": True, "norm": "none"}),
    ("vit", {"pool": "token", "activation": "relu"}),
    ("vit", {"patch": 7, "activation": "silu"}),
)


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


def draw(
    split: Split,
    index: int,
    input_shape: Sequence[int] = (1, 28, 28),
    classes: int = 10,
    families: Mapping[str, int] = TRAINED,
) -> Architecture:
    """The architecture of that number in a split: the same for everyone.

    `families`: those that are trained on, and how often each is drawn. Patches are at most as large as the images.
    Raises `BadInput` for images that are too small, and for a split that the families leave empty.
    """
    families = _known(families)
    if split not in splits_of(families):
        raise BadInput(f"the families {', '.join(families)} leave nothing for {split}", "choose another split")
    if min(input_shape[1:]) < SMALLEST:
        raise BadInput(
            f"images of {input_shape[1]} x {input_shape[2]} are too small for the families",
            f"give images of {SMALLEST} x {SMALLEST} at least, as by dataset.image_size",
        )
    for attempt in range(1000):
        rng = random.Random(derive_seed(index, "architectures", split, attempt))
        family, options = _options(split, rng, families)
        if allowed(split, family, options):
            return Architecture(family, tuple(input_shape), classes, _fitted(options, input_shape))
    raise AssertionError("the families leave no architecture for this split")


def splits_of(families: Mapping[str, int] = TRAINED) -> tuple[Split, ...]:
    """The splits that hold anything where these families are trained on."""
    empty = {
        "unseen_combination": not any(of in families for of, _ in COMBINATIONS),
        "held_out_family": not _held_out(families),
    }
    return tuple(split for split in SPLITS if not empty.get(split, False))


def stream(split: Split, start: int = 0) -> Iterator[Architecture]:
    """The architectures of a split from number `start` on, without end."""
    index = start
    while True:
        yield draw(split, index)
        index += 1


def combined(family: str, options: Mapping[str, Any]) -> bool:
    """Whether operations stand together here that training sees only apart."""
    return any(
        family == of and all(options.get(name) == value for name, value in together.items())
        for of, together in COMBINATIONS
    )


def allowed(split: Split, family: str, options: Mapping[str, Any]) -> bool:
    """Whether a split may hold this architecture."""
    return combined(family, options) == (split == "unseen_combination")


def _options(split: Split, rng: random.Random, families: Mapping[str, int]) -> tuple[str, dict[str, Any]]:
    sizes = Sizes(split)
    if split == "unseen_combination":
        family, together = rng.choice([(of, together) for of, together in COMBINATIONS if of in families])
        return family, _FAMILIES[family](rng, sizes) | dict(together)
    weights = _held_out(families) if split == "held_out_family" else families
    family = rng.choices(list(weights), list(weights.values()))[0]
    return family, _FAMILIES[family](rng, sizes)


def _held_out(families: Mapping[str, int]) -> dict[str, int]:
    return {name: HELD_OUT.get(name, 1) for name in _FAMILIES if name not in families}


def _known(families: Mapping[str, int]) -> dict[str, int]:
    """In one order, on which draws depend, and without those that are never drawn. Raises `BadInput` for none."""
    unknown = [name for name in families if name not in _FAMILIES]
    if unknown or not any(families.values()) or any(weight < 0 for weight in families.values()):
        raise BadInput(f"families {dict(families)!r}", f"give weights from 0 of some of {', '.join(_FAMILIES)}")
    return {name: families[name] for name in _FAMILIES if families.get(name)}


def _fitted(options: dict[str, Any], input_shape: Sequence[int]) -> dict[str, Any]:
    if "patch" in options:
        options["patch"] = min(options["patch"], *input_shape[1:])
    return options


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
    if around["heads"] and around["pool"] != "token" and rng.random() < 0.6:
        around |= {"latents": sizes.width(rng, 16, 96, 8), "positions": rng.random() < 0.5}
    return {
        "patch": rng.choice((4, 7)),
        "dim": sizes.width(rng, 32, 96, 8),
        "depth": sizes.depth(rng, (1, 1, 2, 2, 3, 5)),
        "ratio": 2,
        "activation": rng.choice(ACTIVATIONS),
        **around,
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
        "head_kind": rng.choice(("flatten", "average", "average")) if sees_far else "flatten",
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


_FAMILIES: dict[str, Callable[[random.Random, Sizes], dict[str, Any]]] = {
    "mlp": _mlp,
    "cnn": _cnn,
    "residual": _residual,
    "vit": _vit,
    "axial": _axial,
    "hybrid": _hybrid,
    "separable": _separable,
    "mixer": _mixer,
}
