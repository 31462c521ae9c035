"""Recipes: typed settings, the literal registries, and reading and writing them. Nothing here imports torch."""
