"""Recurrent layers: LSTM, GRU and plain ones, of any number of layers, in one or both directions.

`h' = f(W_ih x + b_ih, W_hh h + b_hh)`, the rows of all gates one gate after another: a unit owns one row of each.
"""

from __future__ import annotations

from collections.abc import Sequence

from weightsmith.graph import axes as ax
from weightsmith.graph import spaces
from weightsmith.graph.axes import Axis, Found
from weightsmith.graph.flow import Flow
from weightsmith.graph.nodes import Operation, Value

GATES = {"lstm": 4, "gru": 3}


def recurrent(flow: Flow, op: Operation) -> Found | None:
    """Every layer and direction has hidden units of its own, one order for all of them where its states are given out.

    Scales are left alone: the gates' functions take them away.
    """
    given = op.arguments
    directions, width = 2 if given.get("bidirectional") else 1, 4 if given.get("has_biases") else 2
    weights: Sequence[Value] = given.get("params", ())
    if "input" not in given or len(weights) != width * directions * given["num_layers"]:
        return None  # packed sequences, projections
    value = flow.axes(given["input"])
    ax.freeze(*value[:-1])
    reads, hidden = value[-1], []
    for layer in range(given["num_layers"]):
        made = [
            _cell(flow, weights[width * i : width * (i + 1)], reads, GATES.get(op.target, 1))
            for i in range(layer * directions, (layer + 1) * directions)
        ]
        hidden += made
        reads = ax.joined(made)
    _hold_states(flow, op, hidden)
    found, *states = (
        [*ax.frozen(op.shapes[0][:-1]), reads],
        *([*ax.frozen(shape[:-1]), hidden[0]] for shape in op.shapes[1:]),
    )
    return [found, *states] if states else found


def _cell(flow: Flow, weights: Sequence[Value], reads: Axis, gates: int) -> Axis:
    """One layer in one direction: its hidden units, which its weights and biases follow."""
    from_input, from_hidden, *biases = (flow.axes(weight) for weight in weights)
    units = from_hidden[1].size
    hidden = Axis(spaces.free(units), spaces.frozen(units))
    rows = Axis(spaces.crossed([spaces.frozen(gates), hidden.units]), spaces.frozen(gates * units))
    ax.contract(from_input[1], reads)
    ax.contract(from_hidden[1], hidden)
    for tensor in (from_input, from_hidden, *biases):
        ax.unify(tensor[0], rows)
    return hidden


def _hold_states(flow: Flow, op: Operation, hidden: list[Axis]) -> None:
    """States lie in one tensor for all layers: where they are read, or are not all zero at first, units move alike."""
    first = op.arguments["hx"]
    starts = [state for state in (first if isinstance(first, tuple) else (first,)) if not flow.is_zero(state)]
    if starts or any(flow.is_read(op, i) for i in range(1, len(op.shapes))):
        for other in hidden[1:]:
            ax.unify(hidden[0], other)
    for state in starts:
        *others, units = flow.axes(state)
        ax.freeze(*others)
        ax.unify(hidden[0], units)


RULES = {"recurrent": recurrent}
