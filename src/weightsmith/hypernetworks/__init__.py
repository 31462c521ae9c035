"""Hypernetworks: networks that read the graph of another network and write its weights."""

from weightsmith.hypernetworks.blueprint import Blueprint
from weightsmith.hypernetworks.extent import Extent, Range
from weightsmith.hypernetworks.network import Hypernetwork, HypernetworkSizes

__all__ = ["Blueprint", "Extent", "Hypernetwork", "HypernetworkSizes", "Range"]
