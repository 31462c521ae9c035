"""The rules: for each kind of operation, what it asks of the axes that it reads and makes."""

from __future__ import annotations

from collections.abc import Mapping

from weightsmith.graph.flow import Rule
from weightsmith.graph.rules import arithmetic, learned, normalising, rearranging, sliding

RULES: Mapping[str, Rule] = {
    **arithmetic.RULES,
    **learned.RULES,
    **normalising.RULES,
    **rearranging.RULES,
    **sliding.RULES,
}
