"""Which architectures are drawn: the families, their sizes, and what is left out of training for each question.

Splits, fixed: `training`; `unseen_size` (all widths, and depths where a family has several, left out of training,
inside its range); `beyond` (up to 1.5 times the largest width or depth); `unseen_combination` (operations that
training sees apart, never together); `held_out_family` (depthwise-separable networks and MLP-mixers). Operations that
these are made of are trained in other company: filters a channel in front of anything but a convolution over channels,
linear sums over tokens around attention or in front of a head, averages of the quarters of a grid behind kernels of 5
and behind little but filters a channel, perceptrons over rows, over columns, and over tokens in networks without a
perceptron over features.

What training keeps apart is kept apart in the auxiliary families, too. Hybrids and networks over tokens hold none of it
in one network. In medleys every layer has operations of its own, so that it is met in one network, never in one layer
(nor, where it is of a whole network, in one network).

Every family counts the same where it is measured; the auxiliary ones are only trained on, beside others.
Whoever trains on other `families` than `TRAINED` has the same splits of those, and the rest of those that are measured
as held-out families.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from weightsmith.architectures.architecture import Architecture
from weightsmith.architectures.families.hybrid import ALWAYS_RESIDUAL
from weightsmith.architectures.families.options import FAMILIES, Sizes, Split
from weightsmith.errors import BadInput
from weightsmith.seeds import derive_seed
from weightsmith.settings.counting import medley_grid

SPLITS: tuple[Split, ...] = ("training", "unseen_size", "beyond", "unseen_combination", "held_out_family")
# How often each is drawn in training.
TRAINED = {"mlp": 2, "cnn": 4, "residual": 4, "vit": 8, "axial": 1, "hybrid": 5, "tokens": 3, "medley": 10}
HELD_OUT = {"separable": 1, "mixer": 1}
# Families of our own, trained on so that operations are met in more company.
AUXILIARY = ("axial", "hybrid", "tokens", "medley")
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
    if family == "hybrid":
        return _combined_hybrid(options)
    if family == "tokens":
        return bool(options["patch"] == 7 and options["activation"] == "silu")
    return any(
        family == of and all(options.get(name) == value for name, value in together.items())
        for of, together in COMBINATIONS
    )


def _combined_hybrid(options: Mapping[str, Any]) -> bool:
    """What `COMBINATIONS` says of convolutional and of residual networks, of a network that is both."""
    adds = options["residual"] or not set(ALWAYS_RESIDUAL).isdisjoint(options["blocks"])
    norm, activation = options["norm"], options["activation"]
    return bool(
        (activation == "tanh" and (adds or norm == "group"))
        or (activation == "silu" and "grouped" in options["blocks"])
        or (norm == "batch" and options["pool"] == "average")
        or (norm == "group" and adds and options["head_kind"] == "flatten")
    )


def allowed(split: Split, family: str, options: Mapping[str, Any]) -> bool:
    """Whether a split may hold this architecture."""
    return combined(family, options) == (split == "unseen_combination")


def _options(split: Split, rng: random.Random, families: Mapping[str, int]) -> tuple[str, dict[str, Any]]:
    sizes = Sizes(split)
    if split == "unseen_combination":
        family, together = rng.choice([(of, together) for of, together in COMBINATIONS if of in families])
        return family, FAMILIES[family](rng, sizes) | dict(together)
    weights = families if split == "training" else _measured(split, families)
    family = rng.choices(list(weights), list(weights.values()))[0]
    return family, FAMILIES[family](rng, sizes)


def _measured(split: Split, families: Mapping[str, int]) -> dict[str, int]:
    """What a split that is not trained on draws from."""
    if split == "held_out_family":
        return _held_out(families)
    return dict.fromkeys([name for name in families if name not in AUXILIARY] or families, 1)


def _held_out(families: Mapping[str, int]) -> dict[str, int]:
    return {name: HELD_OUT.get(name, 1) for name in FAMILIES if name not in (*families, *AUXILIARY)}


def _known(families: Mapping[str, int]) -> dict[str, int]:
    """In one order, on which draws depend, and without those that are never drawn. Raises `BadInput` for none."""
    unknown = [name for name in families if name not in FAMILIES]
    if unknown or not any(families.values()) or any(weight < 0 for weight in families.values()):
        raise BadInput(f"families {dict(families)!r}", f"give weights from 0 of some of {', '.join(FAMILIES)}")
    return {name: families[name] for name in FAMILIES if families.get(name)}


def _fitted(options: dict[str, Any], input_shape: Sequence[int]) -> dict[str, Any]:
    if "patch" in options:
        options["patch"] = min(options["patch"], *input_shape[1:])
    if not options.get("padded", True):
        grid = [medley_grid(size, options["kinds"], options["halvings"], padded=False) for size in input_shape[1:]]
        options["padded"] = min(grid) < 1
    return options
