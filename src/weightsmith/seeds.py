"""Seeds: every random choice is drawn from the recipe's seed and the name of what is drawn, and from nothing else."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed in [0, 2^63) for a named purpose: the first bytes of `sha256("seed/purpose/...")`.

    Independent of the order in which things are drawn, of worker counts and of what else the recipe draws.
    """
    path = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") >> 1
