"""Commands on computation graphs: what is seen of a network, as text and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weightsmith.cli.app import app
from weightsmith.cli.documents import print_document
from weightsmith.cli.outputs import require_new_picture
from weightsmith.cli.runs import Json
from weightsmith.cli.typed import read_typed
from weightsmith.errors import BadInput

if TYPE_CHECKING:
    from weightsmith.architectures import Architecture
    from weightsmith.graph import ParameterGraph

Named = Annotated[str, typer.Argument(help="Name of an architecture, or module:callable that gives a torch.nn.Module.")]
More = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="As after --option.")]
InputShape = Annotated[str, typer.Option(metavar="1,28,28", help="The shape of one input, without the batch.")]
Classes = Annotated[int, typer.Option(min=1, help="How many classes a named architecture tells apart.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="Of the architecture, as hidden=[8]; repeat.")
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Draw a picture, too: a new file, .png or .svg.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse operations that are not understood, or depend on data.")]


@app.command(short_help="Show the computation graph of a network.")
def graph(
    architecture: Named,
    more: More = None,
    input_shape: InputShape = "1,28,28",
    classes: Classes = 10,
    option: Options = None,
    out: Out = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Show what is seen of a network: operations, tensors, and the units that may stand in any order."""
    wanted = _architecture(architecture, input_shape, classes, [*(option or ()), *(more or ())])
    if out is not None:
        require_new_picture(out, "--out")
    from weightsmith.graph import ParameterGraph
    from weightsmith.report.graph import describe, picture

    found = ParameterGraph.of(wanted.build(0), wanted.input_shape)
    if strict and found.traced_by == "autograd":
        raise BadInput(f"operations of {architecture} depend on data", "leave out --strict, or what depends on data")
    if strict and found.not_understood:
        named = ", ".join(found.not_understood)
        raise BadInput(f"operations of {architecture} are not understood: {named}", "leave out --strict, or them")
    if out is not None:
        picture(found, out, title=architecture)
    if as_json:
        print_document("graph", _headline(found), _rows(found))
    else:
        typer.echo(describe(found))
        if out is not None:
            typer.echo(f"picture: {out}")


def _architecture(name: str, input_shape: str, classes: int, options: list[str]) -> Architecture:
    """What was typed, options checked as in a recipe."""
    try:
        shape = tuple(int(size) for size in input_shape.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise BadInput(f"--input-shape {input_shape!r} is not a shape", "write sizes with commas, as 1,28,28")
    typed = read_typed(name, options, None)
    assert typed is not None, "an architecture was given"
    from weightsmith.architectures import Architecture

    return Architecture(typed.architecture.name, shape, classes, typed.architecture.options)


def _headline(graph: ParameterGraph) -> dict[str, Any]:
    return {
        "operations": len(graph.operations),
        "tensors": len(graph.tensors),
        "permutation_groups": len(graph.permutations),
        "scale_groups": len(graph.scales),
        "traced_by": graph.traced_by,
        "not_understood": list(graph.not_understood),
    }


def _rows(graph: ParameterGraph) -> list[dict[str, Any]]:
    """One a tensor."""
    return [
        {
            "tensor": node.name,
            "tied": list(node.names[1:]),
            "shape": list(node.shape),
            "role": node.role,
            "operation": node.operation,
            "kind": node.kind,
            "depth": node.depth,
            "unit_groups": list(node.unit_groups),
            "input_groups": list(node.input_groups),
        }
        for node in graph.tensors.values()
    ]
