"""The parameter graph of a module: what its tensors do in the function that it computes."""

from weightsmith.graph.nodes import Operation, TensorNode, Value
from weightsmith.graph.parameter_graph import ParameterGraph
from weightsmith.graph.trace import NotExportable

__all__ = ["NotExportable", "Operation", "ParameterGraph", "TensorNode", "Value"]
