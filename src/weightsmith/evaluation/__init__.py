"""Evaluation: how good, how new and how dependent on their input generated networks are."""
