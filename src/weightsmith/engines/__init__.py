"""Engines: where the runs of a zoo are trained."""
