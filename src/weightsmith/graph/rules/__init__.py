"""The rules: for each kind of operation, what it asks of the axes that it reads and makes."""

from __future__ import annotations

from collections.abc import Mapping

from weightsmith.graph.flow import Rule
from weightsmith.graph.rules import arithmetic, contracting, learned, normalising, rearranging, recurrent, sliding

RULES: Mapping[str, Rule] = {
    **arithmetic.RULES,
    **contracting.RULES,
    **learned.RULES,
    **normalising.RULES,
    **rearranging.RULES,
    **recurrent.RULES,
    **sliding.RULES,
}
