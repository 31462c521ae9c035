"""The one training loop: any generator, any objective, resumable at any update, deterministic from its seed."""

from weightsmith.training.monitors import Monitor
from weightsmith.training.progress import TrainingProgress
from weightsmith.training.settings import LoopSettings
from weightsmith.training.trainer import Trainer

__all__ = ["LoopSettings", "Monitor", "Trainer", "TrainingProgress"]
