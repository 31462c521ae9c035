"""Families of architectures that are drawn at random, to train a universal synthesizer on and to ask it for."""

from weightsmith.architectures.families.drawing import (
    AUXILIARY,
    COMBINATIONS,
    SPLITS,
    TRAINED,
    draw,
    splits_of,
    stream,
)
from weightsmith.architectures.families.options import Split

__all__ = ["AUXILIARY", "COMBINATIONS", "SPLITS", "TRAINED", "Split", "draw", "splits_of", "stream"]
