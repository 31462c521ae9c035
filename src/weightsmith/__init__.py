"""weightsmith generates neural-network weights, and says honestly how good and how new they are."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from weightsmith.architectures import Architecture as Architecture
    from weightsmith.checkpoint import read_checkpoint as read_checkpoint
    from weightsmith.checkpoint import write_checkpoint as write_checkpoint
    from weightsmith.datasets import load_dataset as load_dataset
    from weightsmith.ensemble import evaluate as evaluate
    from weightsmith.errors import WeightsmithError as WeightsmithError
    from weightsmith.layout import Layout as Layout
    from weightsmith.layout import Weights as Weights
    from weightsmith.pipeline import run_pipeline as run_pipeline
    from weightsmith.settings.loading import load_recipe as load_recipe
    from weightsmith.synthesizer import Synthesizer as Synthesizer
    from weightsmith.universal import UniversalSynthesizer as UniversalSynthesizer
    from weightsmith.universal import initialize as initialize
    from weightsmith.universal import synthesize as synthesize
    from weightsmith.zoo import Zoo as Zoo

# Public name -> where it lives. Looked up when used, so that `import weightsmith` does not import torch.
_EXPORTS = {
    "Architecture": "weightsmith.architectures",
    "Layout": "weightsmith.layout",
    "Synthesizer": "weightsmith.synthesizer",
    "UniversalSynthesizer": "weightsmith.universal",
    "Weights": "weightsmith.layout",
    "WeightsmithError": "weightsmith.errors",
    "Zoo": "weightsmith.zoo",
    "evaluate": "weightsmith.ensemble",
    "initialize": "weightsmith.universal",
    "load_dataset": "weightsmith.datasets",
    "load_recipe": "weightsmith.settings.loading",
    "read_checkpoint": "weightsmith.checkpoint",
    "run_pipeline": "weightsmith.pipeline",
    "synthesize": "weightsmith.universal",
    "write_checkpoint": "weightsmith.checkpoint",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'weightsmith' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
