"""weightsmith generates neural-network weights, and says honestly how good and how new they are."""

__version__ = "0.1.0.dev0"
