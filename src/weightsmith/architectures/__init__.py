"""Architecture: a frozen, serialisable recipe of a network."""

from weightsmith.architectures.architecture import Architecture

__all__ = ["Architecture"]
