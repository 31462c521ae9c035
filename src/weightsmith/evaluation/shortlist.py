"""Which references a network may be nearest to: cheap rankings that need no alignment of pairs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightsmith.evaluation.distance import NetworkDistance
from weightsmith.layout import Weights

BLOCK = 2**24  # numbers held at once
UNITS = 256


def shortlist(
    distance: NetworkDistance,
    networks: Weights,
    references: Weights,
    allowed: Bool[Tensor, "network reference"],
    size: int,
) -> Bool[Tensor, "network reference"]:
    """The `size` references of each network that four rankings put first, each in turn naming its next best.

    Two rankings see a copy whatever the order of its units: they compare the first weight's rows, and the last
    weight's columns, as sets of vectors (inputs and classes are never permuted). Two are for networks whose units are
    in a common order already: the plain distance, and that after aligning all to one reference.
    """
    best = torch.full(allowed.shape, len(references), dtype=torch.int64)
    for scores in _rankings(distance, networks, references):
        place = scores.masked_fill(~allowed, torch.inf).argsort(dim=1, stable=True).argsort(dim=1)
        best = torch.minimum(best, place)
    chosen = best.masked_fill(~allowed, len(references) + 1).argsort(dim=1, stable=True)[:, :size]
    return torch.zeros_like(allowed).scatter(1, chosen, True) & allowed


def _rankings(
    distance: NetworkDistance, networks: Weights, references: Weights
) -> Iterator[Float[Tensor, "network reference"]]:
    matrices = [spec.name for spec in networks.layout.floating if spec.role == "weight" and len(spec.shape) > 1]
    if matrices:
        first, last = matrices[0], matrices[-1]
        ours, theirs = networks.stacked(), references.stacked()
        yield _set_distances(ours[first].flatten(2), theirs[first].flatten(2))
        yield _set_distances(ours[last].transpose(1, 2).flatten(2), theirs[last].transpose(1, 2).flatten(2))
    yield torch.cdist(networks.vectors.float(), references.vectors.float())
    common = references[0]
    framed, framed_references = distance.aligned(networks, common), distance.aligned(references, common)
    yield torch.cdist(framed.vectors.float(), framed_references.vectors.float())


def _set_distances(
    sets: Float[Tensor, "network unit feature"], references: Float[Tensor, "reference unit feature"]
) -> Float[Tensor, "network reference"]:
    """`|A|^2 + |B|^2 - 2 sum_i max_j a_i . b_j`: never more than the squared distance in the best order of units.

    Of more than `UNITS` units an even part is looked for among the others, for speed; then it only ranks.
    """
    _, units, features = references.shape
    some = sets[:, :: -(-units // UNITS)].float()
    share = some.shape[1] / units
    chunk = max(1, BLOCK // (units * max(some.shape[1], features)))
    columns = []
    for part in references.float().split(chunk):
        flat = part.reshape(-1, features).T
        matches = [(one @ flat).reshape(-1, len(part), units).amax(dim=2).sum(dim=0) for one in some]
        columns.append(share * part.square().sum(dim=(1, 2)) - 2 * torch.stack(matches))
    return torch.cat(columns, dim=1) + some.square().sum(dim=(1, 2))[:, None]
