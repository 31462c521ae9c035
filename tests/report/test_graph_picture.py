"""Pictures and descriptions of graphs: the drawing's laws, what is written where, and the command that shows them."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest
from conftest import Run
from odd_modules import ODD, odd
from symmetric_networks import NETWORKS, network

from weightsmith.errors import BadInput
from weightsmith.graph import ParameterGraph
from weightsmith.report.graph import describe, picture
from weightsmith.report.graph.boxes import boxes_of
from weightsmith.report.graph.layered import GAP, Drawing, layered

CNN = ParameterGraph.of(network("cnn"), NETWORKS["cnn"][1])


pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of the old weight norm


def drawn(seed: int, count: int, tallest: float) -> tuple[Drawing, list[tuple[int, int]]]:
    """A random graph of boxes of unequal sizes, in which every box but the first reads some before it."""
    rng = random.Random(seed)
    sizes = [(width := rng.uniform(20, 90), rng.uniform(10, 40), width * rng.uniform(0.3, 0.9)) for _ in range(count)]
    edges = [(maker, i) for i in range(1, count) for maker in {rng.randrange(max(0, i - 6), i) for _ in range(2)}]
    return layered(sizes, edges, tallest), edges


@pytest.mark.parametrize(("seed", "count", "tallest"), [(1, 12, 1e9), (2, 40, 1e9), (3, 60, 400.0), (4, 25, 300.0)])
def test_boxes_never_overlap_and_edges_go_down(seed: int, count: int, tallest: float) -> None:
    drawing, edges = drawn(seed, count, tallest)
    for one, other in itertools.combinations(drawing.nodes, 2):
        apart = abs((one.x - one.anchor + one.width / 2) - (other.x - other.anchor + other.width / 2))
        beside = apart >= (one.width + other.width) / 2 - 1e-6
        below = one.top + one.height <= other.top + 1e-6 or other.top + other.height <= one.top + 1e-6
        assert beside or below
        if one.column == other.column and one.layer == other.layer:
            assert apart >= (one.width + other.width) / 2 + GAP - 1e-6
    assert [(chain[0], chain[-1]) for chain in drawing.chains] == edges
    for chain in drawing.chains:
        for above, below in itertools.pairwise(drawing.nodes[i] for i in chain):
            assert below.layer == above.layer + 1
            assert below.column > above.column or below.top >= above.top + above.height
    assert all(
        node.x - node.anchor >= 0 and node.x - node.anchor + node.width <= drawing.width for node in drawing.nodes
    )
    assert all(node.top >= 0 and node.top + node.height <= drawing.height + 1e-6 for node in drawing.nodes)


def test_a_long_drawing_is_cut_into_columns_of_about_equal_height() -> None:
    drawing = layered([(30.0, 20.0, 15.0)] * 50, [(i, i + 1) for i in range(49)], tallest=700.0)
    tall = layered([(30.0, 20.0, 15.0)] * 50, [(i, i + 1) for i in range(49)], tallest=1e9)
    assert {node.column for node in drawing.nodes} == {0, 1, 2}
    assert drawing.height < 0.45 * tall.height
    assert {node.x for node in tall.nodes} == {15.0}  # a chain is straight


def test_edges_between_columns_have_room_beside_one_another() -> None:
    """A chain of which every link also reads one of fifty inputs, as in a recurrent network that is unrolled."""
    edges = [(0, i) for i in range(1, 51)] + [(i, 50 + i) for i in range(1, 51)] + [(i, i + 1) for i in range(51, 100)]
    drawing = layered([(30.0, 20.0, 15.0)] * 101, edges, tallest=700.0)
    assert len(drawing.crossings) == 3
    assert drawing.crossings[0] > drawing.crossings[1] > drawing.crossings[2] == 0
    assert drawing.margin == 4 * drawing.crossings[0]
    for column in (0, 1):
        right = max(node.x - node.anchor + node.width for node in drawing.nodes if node.column == column)
        left = min(node.x - node.anchor for node in drawing.nodes if node.column == column + 1)
        assert left - right > 4 * drawing.crossings[column]


def test_what_makes_nothing_for_others_joins_the_step_before_it() -> None:
    words = [[op.target for op in box.operations] or [box.end] for box in boxes_of(CNN)]
    convolution = ["conv2d", "relu", "max_pool2d"]
    assert words == [["input"], convolution, [*convolution, "flatten"], ["linear", "relu"], ["linear"], ["output"]]
    residual = boxes_of(ParameterGraph.of(network("residual"), NETWORKS["residual"][1]))
    assert [[op.target for op in box.operations] for box in residual if len(box.reads) == 2] == [
        ["add", "relu"],
        ["add", "relu", "adaptive_avg_pool2d", "flatten"],
    ]


def test_a_description_is_a_table_of_operations_shapes_tensors_and_groups() -> None:
    lines = describe(CNN).splitlines()
    assert lines[0] == "exported, holds for any input; shapes are those of a batch of 2"
    assert lines[1].startswith("10 operations, 8 tensors, 546 parameters, 3 groups of units in any order, 3 at any")
    cells = {line.split("  ")[0]: line.split() for line in lines[5:] if line[:1] not in (" ", "")}
    assert cells["conv2d: conv2d 3x3 padding 1"][-2:] == ["conv1.weight", "3[1]x2x3x3"]
    assert cells["linear"] == ["linear", "flatten", "2x6", "fc1.weight", "6[3]x42[2]"]
    assert "  [2] conv2.weight:0, 7 units, scales free" in lines


def test_a_description_names_what_is_odd() -> None:
    def described(name: str) -> str:
        return describe(ParameterGraph.of(odd(name), ODD[name].shape))

    assert described("custom").splitlines()[-1].startswith("! not understood: cumsum: tensors that nothing else reads")
    assert any(line.startswith("! cumsum") for line in described("custom").splitlines())
    assert "read by no operation: seldom.weight, seldom.bias" in described("branching")
    assert described("branching").startswith("walked along the path of one batch of 2")
    assert "tied: twice.weight = alike.weight" in describe(ParameterGraph.of(network("tied"), (6,)))
    assert "both.weight 9[1,3]x15[1,2]" in describe(ParameterGraph.of(network("two branches"), (6,)))


def test_a_picture_says_everything_and_is_the_same_every_time(tmp_path: Path) -> None:
    graph = ParameterGraph.of(odd("custom"), ODD["custom"].shape)
    for name in ("one.svg", "two.svg", "one.png", "two.PNG"):
        picture(graph, tmp_path / name, title="Custom")
    svg = (tmp_path / "one.svg").read_text()
    for text in ("Custom", "cumsum", "not understood", "#c1121f", "second.weight", "first.weight:0, 4 units", "→ 2x5"):
        assert text in svg
    assert "4¹" in svg  # an axis with its group
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    png = (tmp_path / "one.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert png == (tmp_path / "two.PNG").read_bytes()


@pytest.mark.parametrize("name", ["dense blocks", "decoder layer", "parametrised", "branching cnn", "flattens"])
def test_any_graph_can_be_drawn(name: str, tmp_path: Path) -> None:
    picture(ParameterGraph.of(odd(name), ODD[name].shape, by="autograd"), tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").stat().st_size > 5000


def test_a_picture_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"graph\.gif"):
        picture(CNN, tmp_path / "graph.gif")
    assert not list(tmp_path.iterdir())


def test_the_command_describes_draws_and_refuses(program: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n\nclass Net(torch.nn.Module):\n"
        "    def __init__(self, width=4):\n        super().__init__()\n"
        "        self.a, self.b = torch.nn.Linear(3, width), torch.nn.Linear(width, 2)\n\n"
        "    def forward(self, x):\n        return self.b(self.a(x).cumsum(1))\n"
    )
    common = ("graph", "mine:Net", "--input-shape", "3", "--option", "width=5")
    done = program(*common, "--out", tmp_path / "net.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "a.weight 5x3" in done.stdout
    assert "picture: " in done.stdout
    drawn = (tmp_path / "net.png").read_bytes()
    again = program(*common, "--out", tmp_path / "net.png", cwd=tmp_path)
    assert (again.returncode, (tmp_path / "net.png").read_bytes()) == (2, drawn)
    assert "choose another name with --out" in again.stderr
    assert (
        "fc1.weight:0, 8 units" in program("graph", "mlp", "hidden=[8]", "--input-shape", "1,2,3", cwd=tmp_path).stdout
    )
    found = json.loads(program("graph", "mlp", "--input-shape", "1,2,3", "--json", cwd=tmp_path).stdout)
    assert (found["kind"], found["headline"]["traced_by"]) == ("graph", "export")
    assert found["rows"][0]["tensor"] == "fc1.weight"
    strict = program(*common, "--strict", "--out", tmp_path / "other.png", cwd=tmp_path)
    assert (strict.returncode, (tmp_path / "other.png").exists()) == (2, False)
    assert "not understood: cumsum" in strict.stderr
    (tmp_path / "others.py").write_text(
        "import torch\n\nclass Branching(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.a = torch.nn.Linear(3, 2)\n\n"
        "    def forward(self, x):\n        return self.a(x) if float(x.sum()) < 99 else x[:, :2]\n\n"
        "def lazy():\n    return torch.nn.LazyLinear(2)\n"
    )
    for name, said in (("Branching", "depend on data"), ("lazy", "'weight' has no shape yet")):
        refused = program("graph", f"others:{name}", "--input-shape", "3", "--strict", cwd=tmp_path)
        assert refused.returncode == 2
        assert said in refused.stderr
    assert program("graph", "mlp", "--input-shape", "1,x", cwd=tmp_path).returncode == 2
    assert program("graph", "mlp", "--out", "net.gif", cwd=tmp_path).returncode == 2
