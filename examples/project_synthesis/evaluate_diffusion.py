"""Compare, side by side, the original training with what is generated from its own initial weights (section 3.3)."""

from __future__ import annotations

from pathlib import Path

from comparison import STEPS, Comparison, Experiment
from experiment import run

PLOT = Path("diffusion_comparison_plot.png")


def print_table(comparison: Comparison) -> None:
    """The table of the note's section 3.3."""
    print("\n| Step / Epoch | Diffusion Model Accuracy (%) | Original CNN Accuracy (%) |")
    print("|--------------|------------------------------|---------------------------|")
    for step in range(STEPS + 1):
        original = f"{comparison.original[step].accuracy:.2%}" if step in comparison.original else "-"
        label = str(step) if step else "0 (Initial)"
        print(f"| {label:<12} | {comparison.generated[step].accuracy:<28.2%} | {original:<25} |")
    print()


def main() -> None:
    experiment = Experiment.from_command_line(__doc__)
    comparison = Comparison.measure(experiment, experiment.initial)
    comparison.plot(experiment, PLOT)
    print("Evaluation finished.")
    print_table(comparison)
    comparison.print_honest_lines(experiment)


if __name__ == "__main__":
    run(main)
