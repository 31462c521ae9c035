"""A trajectory experiment: a generator for every run, which learns to step from one checkpoint to the next."""
