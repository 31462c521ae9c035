"""Data sets, in memory as tensors: what networks are trained on, selected by and reported on."""

from weightsmith.datasets.load import load_dataset
from weightsmith.datasets.mnist import mnist_is_available
from weightsmith.datasets.record import Dataset, DatasetRequest, Split

__all__ = ["Dataset", "DatasetRequest", "Split", "load_dataset", "mnist_is_available"]
