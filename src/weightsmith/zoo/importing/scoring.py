"""Scoring: accuracy and loss of networks on the validation split, as `zoo build` measures them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from weightsmith.architectures import Architecture
from weightsmith.architectures.misfit import misfit
from weightsmith.datasets import Dataset
from weightsmith.ensemble import choose_device, choose_precision, evaluate
from weightsmith.errors import BadInput
from weightsmith.layout import Weights
from weightsmith.zoo.rows import Metrics

AT_ONCE = 32  # networks between two looks at whether to stop
_STATED = "stated_"


class Scorer:
    """Measures networks of one architecture on the validation images of a data set.

    Raises `BadInput` when the architecture cannot read the images, or gives another number of classes.
    """

    def __init__(self, architecture: Architecture, dataset: Dataset, device: str = "auto") -> None:
        self._device = choose_device(device)
        self._precision = choose_precision("auto", self._device)
        self._module, self._split = architecture.build(0), dataset.validation
        self._require_fit(architecture, dataset)

    @property
    def facts(self) -> dict[str, Any]:
        """What the measurements were made on, for provenance."""
        return {"measured_on": "validation", "precision": self._precision}

    def __call__(self, weights: Weights, advance: Callable[[int], None]) -> list[dict[str, float | None]]:
        """Accuracy and loss of each network of `weights` `[batch, parameters]`; None where outputs are not finite.

        `advance` is told how many more networks are done, and may raise to stop.
        """
        measured: list[dict[str, float | None]] = []
        for start in range(0, len(weights), AT_ONCE):
            part = weights[start : start + AT_ONCE]
            found = evaluate(self._module, part, self._split, precision=self._precision, device=self._device)
            for evaluation in found:
                finite = math.isfinite(evaluation.loss)
                facts = {"accuracy": evaluation.accuracy, "loss": evaluation.loss}
                measured.append({name: value if finite else None for name, value in facts.items()})
            advance(len(part))
        return measured

    def _require_fit(self, architecture: Architecture, dataset: Dataset) -> None:
        problem = misfit(self._module, dataset.validation.head(2).images, dataset.classes)
        if problem:
            raise BadInput(
                f"architecture {architecture.name!r} cannot be evaluated on {dataset.name!r}: {problem}",
                "choose the data set that the networks were trained on with --dataset",
            )


def with_measured(stated: Metrics, measured: Mapping[str, float | None]) -> dict[str, float | None]:
    """Metrics with what was measured; what was stated under the same name is kept as `stated_NAME`."""
    kept = {f"{_STATED}{name}" if name in measured else name: value for name, value in stated.items()}
    return {**kept, **measured}
