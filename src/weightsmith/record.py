"""Record: one measured fact about one network, with what it was measured on. Reports read only records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from weightsmith.errors import ArtifactError
from weightsmith.hashed import HashedLog


@dataclass(frozen=True)
class Record:
    """One fact: what was measured (`metrics`), of which network (`subject`), on what (`measured_on`), by which command.

    `kind` groups records of one shape (`generated`, `original`, `baseline`, `dependence`). Metrics are finite numbers
    or `None`, never a sentinel.
    """

    kind: str
    subject: Mapping[str, Any]
    measured_on: Mapping[str, Any]
    metrics: Mapping[str, float | None]
    command: str
    environment: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Record:
        try:
            return cls(**document)
        except TypeError as error:
            raise ArtifactError(f"not a record: {error}", "evaluate again to make the records anew") from None


def read_records(path: Path) -> list[Record]:
    """The records of a log, verified line by line. Raises `ArtifactError` where the log is damaged or cut short."""
    contents = HashedLog(path).read()
    if contents.torn:
        raise ArtifactError(f"{path} ends in the middle of a line", "run the command that wrote it again")
    return [Record.from_json(record) for record in contents.records]
