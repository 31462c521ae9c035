"""What a measurement was made with: versions, processor, cores. No host name, no path."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import weightsmith


def describe_environment() -> dict[str, str | int]:
    """Versions of what computes, the processor and its usable cores, and the commit when run from a repository."""
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "scipy", "scikit-learn", "safetensors")}
    return {
        "weightsmith": weightsmith.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        **versions,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    }


def peak_memory() -> float | None:
    """The most memory that this process has held at once (peak resident set), in MB; `None` where it is not told."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes, others kilobytes


def command_line() -> str:
    """The command that is running, as the user typed it, but of absolute paths only the last part."""
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    words = list(sys.argv)
    if main is not None and main.origin == sys.argv[0]:  # a module by its name, as in `python -m benchmarks.zoo`
        words[0] = f"python -m {main.name.removesuffix('.__main__')}"
    return " ".join("=".join(_last_part(part) for part in word.split("=")) for word in words)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str:
    """The commit of this source tree, with a `+` when files differ from it; empty where it is not a repository."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "--short=12", "HEAD") if git("ls-files", "__init__.py") else ""
        return commit + ("+" if commit and git("status", "--porcelain", "--untracked-files=no") else "")
    except OSError:
        return ""


def _last_part(text: str) -> str:
    return Path(text).name if Path(text).is_absolute() else text
