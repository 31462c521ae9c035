"""Tracing: what a module does, as `torch.export` writes it or, where it cannot, as one run shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from weightsmith.graph.exporting import export
from weightsmith.graph.recombining import recombined
from weightsmith.graph.trace import NotExportable, Trace, TracedBy
from weightsmith.graph.walking import walk

_WAYS: dict[TracedBy, Callable[[nn.Module, tuple[Tensor, ...]], Trace]] = {"export": export, "autograd": walk}
_DID = {"export": "export", "autograd": "a run on an example"}


def trace(module: nn.Module, inputs: tuple[Tensor, ...], by: TracedBy | None = None) -> Trace:
    """The operations of `module` for inputs of these shapes, exported, or else walked; `by` asks for one of the two.

    Raises `NotExportable`, naming why each way failed.
    """
    reasons, last = [], None
    for way in (by,) if by is not None else _WAYS:
        try:
            found = _WAYS[way](module, inputs)
            outputs = {value.name for value in found.outputs}
            return replace(found, operations=recombined(found.operations, outputs))
        except Exception as error:  # neither torch.export nor modules have a common base of what they raise
            reasons.append(f"{_DID[way]}: {type(error).__name__}: {_first_line(error)}")
            last = error
    shapes = ", ".join(str(list(x.shape)) for x in inputs)
    raise NotExportable(
        f"the operations of {type(module).__name__} cannot be traced for inputs {shapes}: {'; '.join(reasons)}",
        _REMEDIES[by],
    ) from last


_REMEDIES = {
    None: "check the input shape, and that the module runs in evaluation mode and its output has gradients",
    "export": "make its forward free of branches and shapes that depend on data, and check the input shape",
    "autograd": "check the input shape, and that the module runs in evaluation mode and its output has gradients",
}


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or "no reason given"
