"""The import law: a module imports only from layers below its own, and the packages of L2 not from one another."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import weightsmith

ROOT = Path(weightsmith.__file__).parent
LAYERS = (
    {
        "errors",
        "files",
        "hashed",
        "seeds",
        "layout",
        "graph",
        "tokens",
        "record",
        "interfaces",
        "settings",
        "tensorfile",
        "checkpoint",
        "artifact",
    }
    | {"environment", "interruption", "reporter"},
    {"datasets", "architectures", "symmetry", "ensemble", "diffusion", "denoisers", "training", "optim"}
    | {"hypernetworks", "pretrained"},
    {"zoo", "codecs", "generators", "objectives", "evaluation"},
    {"synthesizer", "universal", "report", "engines"},
    {"recipes", "pipeline", "console", "cli"},
)
# Within one layer these may build on one another, in this direction only; the packages of L2 may not at all.
WITHIN = {
    "files": {"errors"},
    "hashed": {"errors", "files"},
    "layout": {"errors", "hashed"},
    "graph": {"errors", "layout"},
    "tokens": {"errors"},
    "record": {"errors", "hashed"},
    "tensorfile": {"errors", "files", "hashed"},
    "artifact": {"errors", "files", "hashed", "tensorfile"},
    "checkpoint": {"errors", "files", "layout", "tensorfile"},
    "settings": {"errors", "files", "seeds"},
    "interfaces": {"errors", "layout", "tokens"},
    "interruption": {"errors"},
    "ensemble": {"datasets"},
    "hypernetworks": {"architectures", "denoisers"},
    "training": {"optim"},
    "pipeline": {"console"},
    "cli": {"pipeline", "console"},
}


def layer_of(package: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if package in names)


def imports_of(path: Path) -> set[str]:
    """The top-level parts of weightsmith that a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("weightsmith."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("weightsmith.")}
    return found


def files() -> list[tuple[str, Path]]:
    paths = [path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"]
    return [(path.relative_to(ROOT).parts[0].removesuffix(".py"), path) for path in paths]


def test_every_module_has_a_layer() -> None:
    known = set().union(*LAYERS)
    assert {package for package, _ in files()} <= known


def test_modules_import_only_from_below() -> None:
    breaches = []
    for package, path in files():
        for imported in imports_of(path) - {package}:
            below = layer_of(imported) < layer_of(package)
            if not below and imported not in WITHIN.get(package, set()):
                breaches.append(f"{path.relative_to(ROOT)} imports {imported}")
    assert not breaches


def test_settings_registries_and_command_line_do_not_import_torch() -> None:
    code = (
        "import sys, weightsmith, weightsmith.cli.runs, weightsmith.cli.networks, weightsmith.cli.zoos\n"
        "import weightsmith.cli.synthesis, weightsmith.settings.universal, weightsmith.pretrained\n"
        "import weightsmith.settings.loading, weightsmith.settings.dumping, weightsmith.settings.registry\n"
        "weightsmith.settings.loading.load_recipe('mnist-trajectory')\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
