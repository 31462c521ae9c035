"""Equations of Einstein sums: which label each axis of each operand has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Label = str | int  # of an axis that an ellipsis stands for: how many of those are to its right


@dataclass(frozen=True)
class Equation:
    """The labels of every operand's axes, and of the output's."""

    operands: tuple[tuple[Label, ...], ...]
    output: tuple[Label, ...]

    @classmethod
    def of(cls, text: str, ranks: Sequence[int]) -> Equation:
        """Read `bnd,de->bne`, `...d,de->...e` or `ij,jk` for operands of these ranks."""
        left, arrow, right = text.replace(" ", "").partition("->")
        operands = tuple(_labels(part, rank) for part, rank in zip(left.split(","), ranks, strict=True))
        every = [label for labels in operands for label in labels]
        hidden = sorted({label for label in every if isinstance(label, int)}, reverse=True)
        if arrow:
            return cls(operands, _labels(right, len(right.replace("...", "")) + len(hidden)))
        letters = [label for label in every if isinstance(label, str)]
        return cls(operands, (*hidden, *sorted(label for label in set(letters) if letters.count(label) == 1)))

    def unit_and_input_axes(self, operand: int) -> tuple[int | None, int | None]:
        """The last axis of an operand that only it gives to the output, and the last that is summed over."""
        mine = self.operands[operand]
        others = {label for i, labels in enumerate(self.operands) if i != operand for label in labels}
        units = [i for i, label in enumerate(mine) if label in self.output and label not in others]
        reads = [i for i, label in enumerate(mine) if label not in self.output]
        return units[-1] if units else None, reads[-1] if reads else None


def _labels(part: str, rank: int) -> tuple[Label, ...]:
    before, dots, after = part.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return (*before, *reversed(range(hidden)), *after)
