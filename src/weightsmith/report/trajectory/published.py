"""The figures that the Project Synthesis note publishes (its sections 3.1 to 3.3), to stand beside ours."""

from __future__ import annotations

# Generative step -> (accuracy, the note's "average loss").
GENERATED = {
    0: (0.0948, 591.4088),
    1: (0.9896, 64.0916),
    2: (0.9909, 16.7626),
    3: (0.9908, 8.0734),
    4: (0.9907, 7.0694),
    5: (0.9907, 7.4064),
    6: (0.9906, 8.0632),
}
# Training epoch -> (accuracy, the note's "average loss").
ORIGINAL = {
    0: (0.0948, 591.4088),
    1: (0.9843, 13.0003),
    2: (0.9869, 10.4094),
    3: (0.9900, 7.3533),
    4: (0.9901, 7.7593),
    5: (0.9886, 8.8175),
}


def applies_to(dataset: str, architecture_parameters: int) -> bool:
    """Whether the published figures are of the same task: MNIST and the network of 421,642 parameters."""
    return dataset == "mnist" and architecture_parameters == 421_642
