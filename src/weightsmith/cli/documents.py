"""What `--json` prints: one document, of one form for all commands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer


def print_document(kind: str, headline: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print `{schema, kind, headline, rows, environment}` on stdout."""
    from weightsmith.environment import describe_environment

    document = {"schema": "weightsmith.result/1", "kind": kind, "headline": dict(headline), "rows": list(rows)}
    typer.echo(json.dumps({**document, "environment": describe_environment()}, indent=1, allow_nan=False))
