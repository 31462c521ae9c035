"""The zoo: an append-only, verifiable store of trained networks."""

from weightsmith.zoo.rows import Quarantined, Row, RowInfo
from weightsmith.zoo.store import VerifyReport, Zoo
from weightsmith.zoo.writer import Appended, ZooWriter

__all__ = ["Appended", "Quarantined", "Row", "RowInfo", "VerifyReport", "Zoo", "ZooWriter"]
