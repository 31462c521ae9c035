"""What weights that are written for architectures never seen before are worth; see `__main__` for how it is run."""
