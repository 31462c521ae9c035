"""Hypernetworks: networks that read the graph of another network and write its weights."""

from weightsmith.hypernetworks.blueprint import Blueprint
from weightsmith.hypernetworks.network import Hypernetwork, HypernetworkSizes

__all__ = ["Blueprint", "Hypernetwork", "HypernetworkSizes"]
