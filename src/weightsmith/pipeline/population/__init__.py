"""A population experiment: one generator for all runs of an architecture, which samples networks like theirs."""
