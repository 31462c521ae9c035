"""Step 3: generate from a new, unseen random initialisation, and compare with the original training."""

# The note says "unseen", but its own figures show the init of the training run: its step 0 and its epoch 0 are the same
# to the last digit (9.48%, 591.4088). Here the two differ; evaluate_diffusion.py starts where the note did.

from __future__ import annotations

from pathlib import Path

from comparison import Comparison, Experiment
from experiment import run

PLOT = Path("diffusion_evaluation_plot.png")


def main() -> None:
    experiment = Experiment.from_command_line(__doc__)
    comparison = Comparison.measure(experiment, experiment.unseen_init(0))
    comparison.plot(experiment, PLOT)
    print("Evaluation finished.")
    comparison.print_honest_lines(experiment)


if __name__ == "__main__":
    run(main)
