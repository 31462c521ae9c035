"""What a record says of the command that made it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = "from weightsmith.environment import command_line\nprint(command_line())\n"


def test_a_module_is_named_as_it_was_run_and_a_script_as_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "own_program.py").write_text(PROGRAM)

    def said(*words: str) -> str:
        return subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert said("-m", "own_program", "a", "out=/some/where") == "python -m own_program a out=where\n"
    assert said("own_program.py", "a") == "own_program.py a\n"
