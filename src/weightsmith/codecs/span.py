"""The span codec: coordinates of a network in the affine span of its training checkpoints."""

from __future__ import annotations

from weightsmith.codecs.pca import PcaCodec


def make_span() -> PcaCodec:
    """`z = Q (w - m)`: all principal axes of the n training checkpoints (at most n - 1), not whitened.

    An isometry of the span: `mse(z) d / parameters` is the mean squared error in weights, and a minimiser of the
    note's loss, which answers with points of this span, is represented exactly. Encoding a network outside the span
    *projects* it: of an unseen random init hardly anything remains, so what is generated from it depends on it hardly
    at all, by construction.
    """
    return PcaCodec(components=None, whiten=False, name="span")
