"""What a card says of where an artifact comes from."""

from __future__ import annotations

from weightsmith.artifact import facts


def test_parts_of_a_provenance_are_told_in_lines_and_in_words() -> None:
    provenance = {
        "command": "python -m x",
        "minutes": 2.50,
        "phases": [{"name": "a", "seconds": 3231.6942, "of": {"mlp": 2, "cnn": 4}, "heads": {}}, {"name": "b"}],
        "splits": ["training", "beyond"],
    }
    assert facts(provenance).splitlines() == [
        "* command: python -m x",
        "* minutes: 2.5",
        "* phases:",
        "  1. name a, seconds 3231.69, of (mlp 2, cnn 4)",
        "  2. name b",
        "* splits: ['training', 'beyond']",
    ]
