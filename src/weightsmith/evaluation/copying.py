"""Data copying: whether samples lie closer to the training networks than other real networks do, and how far apart."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from scipy.stats import rankdata, tiecorrect
from torch import Tensor

from weightsmith.errors import BadInput
from weightsmith.evaluation.distance import NetworkDistance
from weightsmith.evaluation.nearest import sound_networks
from weightsmith.layout import Weights

MAX_PAIRS = 2000


def data_copying_score(
    sample_distance: Float[Tensor, " sample"], held_out_distance: Float[Tensor, " held_out"]
) -> float:
    """The z-score of the Mann-Whitney test between nearest-training distances of samples and of held-out networks.

    `z = (U - m n / 2) / sqrt(m n (m + n + 1) / 12)`, `U` the number of pairs in which the sample is the farther one
    (ties half, with the usual correction of the variance). Far below 0: the samples are copies; about 0: as new as
    real networks; far above 0: they lie off the training networks. It grows as the root of the numbers of networks.
    Meehan, Chaudhuri and Dasgupta 2020, section 3 (their statistic for the whole space as one cell). Raises `BadInput`
    without networks or for a distance that is not finite.
    """
    samples, held_out = sample_distance.double(), held_out_distance.double()
    m, n = len(samples), len(held_out)
    if not m or not n or not bool(torch.isfinite(torch.cat([samples, held_out])).all()):
        raise BadInput(
            f"distances of {m} samples and {n} held-out networks, not all finite or none at all",
            "give at least one of each, and leave out networks that are not finite",
        )
    ranks = rankdata(torch.cat([samples, held_out]).numpy())
    farther = float(ranks[:m].sum()) - m * (m + 1) / 2
    variance = m * n * (m + n + 1) / 12 * float(tiecorrect(ranks))
    return (farther - m * n / 2) / math.sqrt(variance) if variance > 0 else 0.0


def mean_pairwise_distance(
    distance: NetworkDistance, canonical: Weights, rng: torch.Generator, max_pairs: int = MAX_PAIRS
) -> float | None:
    """The mean distance over pairs of canonical networks: all pairs, or a random `max_pairs` of them.

    `None` for fewer than two networks. Raises `BadInput` for a network that is not finite.
    """
    damaged = int((~sound_networks(canonical)).sum())
    if damaged:
        raise BadInput(f"{damaged} of {len(canonical)} networks are not finite", "leave them out, and say how many")
    pairs = torch.triu_indices(len(canonical), len(canonical), offset=1).T
    if not len(pairs):
        return None
    if len(pairs) > max_pairs:
        pairs = pairs[torch.randperm(len(pairs), generator=rng)[:max_pairs]]
    found = []
    for reference in pairs[:, 0].unique().tolist():
        others = pairs[pairs[:, 0] == reference, 1].tolist()
        found.append(distance.between(canonical[others], canonical[reference])[:, 0])
    return float(torch.cat(found).double().mean())


def dispersion_ratio(
    distance: NetworkDistance,
    samples: Weights,
    held_out: Weights,
    rng: torch.Generator,
    max_pairs: int = MAX_PAIRS,
) -> float | None:
    """The mean pairwise distance among samples over that among held-out real networks, all canonical.

    0: the samples are one network; 1: as unlike one another as independent training runs. `None` with fewer than two
    of either, or when the held-out networks do not differ.
    """
    top = mean_pairwise_distance(distance, samples, rng, max_pairs)
    bottom = mean_pairwise_distance(distance, held_out, rng, max_pairs)
    return top / bottom if top is not None and bottom else None
