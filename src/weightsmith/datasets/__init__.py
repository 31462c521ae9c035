"""Data sets, in memory as tensors: what networks are trained on, selected by and reported on."""

from weightsmith.datasets.load import is_at_hand, load_dataset
from weightsmith.datasets.mnist import mnist_is_available
from weightsmith.datasets.record import Dataset, DatasetRequest, Split

__all__ = ["Dataset", "DatasetRequest", "Split", "is_at_hand", "load_dataset", "mnist_is_available"]
