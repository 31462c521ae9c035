"""Train and evaluate many networks at once; accuracy and loss live here."""

from weightsmith.ensemble.evaluation import Evaluation, evaluate
from weightsmith.ensemble.machine import Precision, choose_device, choose_precision
from weightsmith.ensemble.measuring import GROUP_SIZES, Rate, candidates, measure_rate, worth_trying
from weightsmith.ensemble.plan import LARGEST_LOSS, METHODS, Capture, Member, Method, TrainingPlan, TrainingState
from weightsmith.ensemble.recalibration import has_running_statistics, recalibrated
from weightsmith.ensemble.steppers import can
from weightsmith.ensemble.training import train_networks

__all__ = [
    "GROUP_SIZES",
    "LARGEST_LOSS",
    "METHODS",
    "Capture",
    "Evaluation",
    "Member",
    "Method",
    "Precision",
    "Rate",
    "TrainingPlan",
    "TrainingState",
    "can",
    "candidates",
    "choose_device",
    "choose_precision",
    "evaluate",
    "has_running_statistics",
    "measure_rate",
    "recalibrated",
    "train_networks",
    "worth_trying",
]
