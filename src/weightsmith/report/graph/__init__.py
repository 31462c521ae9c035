"""A parameter graph for people: a picture, and text for terminals."""

from weightsmith.report.graph.picture import picture
from weightsmith.report.graph.text import describe

__all__ = ["describe", "picture"]
