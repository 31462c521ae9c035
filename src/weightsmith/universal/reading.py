"""Reading: a module as a universal synthesizer sees it: what it will write, what it will not, and what is beyond it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor, nn

from weightsmith.errors import BadInput
from weightsmith.graph import ParameterGraph
from weightsmith.graph.vocabulary import LEFT, UNKNOWN
from weightsmith.hypernetworks import Blueprint
from weightsmith.universal.borrowing import borrowed, initialiser, is_blank, require_module
from weightsmith.universal.coverage import Coverage, Excess

_EXAMPLES = 2
_WALKED = "its operations were read off one run on an example, since they depend on data: other paths are not known"
_SEED = 0  # of what a module on the meta device is given while it is looked at


@dataclass(frozen=True)
class Untouched:
    """A tensor that is not generated, why, and what it is instead.

    `source`: `initialised` anew for every network by the module at `path`, or left as it `stands` in the module.
    `understood`: whether that is how it should be, as of a buffer; not where an operation is not understood.
    """

    tensor: str
    reason: str
    understood: bool
    source: Literal["initialised", "stands"]
    path: str = ""

    def __str__(self) -> str:
        how = f"initialised by {self.path or 'the module'}" if self.source == "initialised" else "as in the module"
        return f"{self.tensor}: {how}, since {self.reason}"


@dataclass(frozen=True, eq=False)
class Reading:
    """A module that was read once, so that networks can be written for it without tracing it again.

    `name`: its class. `form`: a copy on the CPU in evaluation mode that reads images of the data set. `stands`: the
    tensors of its state as they were. `untouched`: the tensors of the state that are not generated. `excess`: what lies
    beyond the trained range.
    """

    name: str
    form: nn.Module
    device: torch.device
    graph: ParameterGraph
    blueprint: Blueprint
    stands: dict[str, Tensor]
    untouched: tuple[Untouched, ...]
    excess: tuple[Excess, ...]

    @property
    def generated(self) -> tuple[str, ...]:
        """The names of the tensors that are generated."""
        left = {entry.tensor for entry in self.untouched}
        return tuple(name for name in self.stands if name not in left)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is not as in training: what is not understood, known of one run alone, or beyond its range."""
        unknown = [f"operation {name!r} is not understood: {LEFT}" for name in self.graph.not_understood]
        left = [str(entry) for entry in self.untouched if not entry.understood]
        walked = [_WALKED] if self.graph.traced_by == "autograd" else []
        return (*unknown, *walked, *left, *map(str, self.excess))

    @classmethod
    def of(cls, module: nn.Module, covers: Coverage, input_shape: Sequence[int] | None = None) -> Reading:
        """Read a module, which is left as it was.

        Raises `BadInput` for what is no module of logits of the data set's images, or cannot be traced.
        """
        require_module(module)
        device = next((t.device for t in module.state_dict().values()), torch.device("cpu"))
        form = borrowed(module, _SEED)
        shape = _read_as(form, covers, input_shape)
        _require_logits(form, covers, shape)
        graph = ParameterGraph.of(form, covers.input_shape)
        blueprint = Blueprint.of(graph)
        stands = {name: value.detach().clone() for name, value in form.state_dict().items()}
        untouched = _untouched(form, graph, blueprint)
        _require_values(stands, untouched, type(module).__name__)
        return cls(
            type(module).__name__,
            form,
            torch.device("cpu") if device.type == "meta" else device,
            graph,
            blueprint,
            stands,
            untouched,
            covers.beyond(graph),
        )


def require_name(dataset: object) -> None:
    """Raise `BadInput` for a data set that is not given by its name."""
    if dataset is not None and not isinstance(dataset, str):
        raise BadInput(f"the data set is a {type(dataset).__name__}, not a name", "give its name, such as mnist")


def _read_as(form: nn.Module, covers: Coverage, wanted: Sequence[int] | None) -> tuple[int, ...]:
    """Have the copy read images in the shape that its user gives them, so that its graph begins at the image."""
    shape = covers.input_shape if wanted is None else _sizes(wanted)
    if math.prod(shape) != math.prod(covers.input_shape) or any(size < 1 for size in shape):
        raise BadInput(
            f"input shape {list(shape)} does not fit images {list(covers.input_shape)} of {covers.dataset}",
            "give a shape of as many values, or resize the images in the module",
        )
    if shape != covers.input_shape:
        form.register_forward_pre_hook(lambda _, inputs: (inputs[0].reshape(len(inputs[0]), *shape),))
    return shape


def _sizes(wanted: Any) -> tuple[int, ...]:
    """A shape that was asked for; one number is the shape of a vector."""
    found = tuple(wanted) if isinstance(wanted, Sequence) and not isinstance(wanted, str) else (wanted,)
    if not all(isinstance(size, Integral) for size in found):
        raise BadInput(f"input shape {wanted!r} is not a shape", "give whole numbers, such as (784,) or (1, 28, 28)")
    return tuple(map(int, found))


def _require_logits(form: nn.Module, covers: Coverage, shape: tuple[int, ...]) -> None:
    """Raise `BadInput` where images do not go in, or what comes out is not a number a class."""
    like = next((p for p in form.parameters() if p.is_floating_point()), torch.empty(0))
    images = torch.zeros(_EXAMPLES, *covers.input_shape, dtype=like.dtype)
    who = f"{type(form).__name__}"
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            outputs = copy.deepcopy(form)(images)  # buffers may be changed by running it
    except Exception as error:  # anything may come out of a user's module
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        raise BadInput(
            f"{who} does not read images {list(shape)} of {covers.dataset}: {type(error).__name__}: {reason}",
            f"make it read one input [batch, {', '.join(map(str, shape))}], or say the shape that it reads, such as "
            f"[{math.prod(shape)}], as input shape",
        ) from error
    found = list(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
    if found != [_EXAMPLES, covers.classes]:
        raise BadInput(
            f"{who} gives {found} for {_EXAMPLES} images, not [{_EXAMPLES}, {covers.classes}]: {covers.dataset} has "
            f"{covers.classes} classes",
            f"give a network whose output is one number for each of {covers.classes} classes",
        )


def _untouched(form: nn.Module, graph: ParameterGraph, blueprint: Blueprint) -> tuple[Untouched, ...]:
    generated = {name for plan in blueprint.tensors for name in plan.names}
    trial = copy.deepcopy(form)  # is changed while it is found out who initialises what
    parameters = dict(form.named_parameters(remove_duplicate=False))
    found = []
    for spec in graph.layout.tensors:
        if spec.name in generated:
            continue
        if spec.name not in parameters:
            found.append(Untouched(spec.name, "it is a buffer", True, "stands"))
            continue
        node = graph.tensors.get(spec.name)
        reason = blueprint.untouched.get(node.names[0], "no operation reads it") if node else "it holds no real numbers"
        path = initialiser(trial, spec.name) if node else None
        understood = node is not None and node.kind != UNKNOWN
        source: Any = "stands" if path is None else "initialised"
        found.append(Untouched(spec.name, reason, understood, source, path or ""))
    return tuple(found)


def _require_values(stands: dict[str, Tensor], untouched: Sequence[Untouched], who: str) -> None:
    """Raise `BadInput` for a tensor that should stay as it is and lies on the meta device, without a value."""
    for entry in untouched:
        if entry.source == "stands" and is_blank(stands[entry.tensor]) and stands[entry.tensor].dtype != torch.bool:
            raise BadInput(
                f"tensor {entry.tensor!r} of {who} is not generated, since {entry.reason}, and has no value",
                "build the module on the CPU, not on the meta device",
            )
