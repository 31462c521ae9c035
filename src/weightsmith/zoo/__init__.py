"""The zoo: an append-only, verifiable store of trained networks."""

from weightsmith.zoo.importing import ImportReport, Source, import_zoo, open_source
from weightsmith.zoo.rows import Quarantined, Row, RowInfo
from weightsmith.zoo.run_summary import RunSummary, summarise_run
from weightsmith.zoo.store import VerifyReport, Zoo
from weightsmith.zoo.summary import ZooSummary, summarise
from weightsmith.zoo.writer import Appended, ZooWriter

__all__ = [
    "Appended",
    "ImportReport",
    "Quarantined",
    "Row",
    "RowInfo",
    "RunSummary",
    "Source",
    "VerifyReport",
    "Zoo",
    "ZooSummary",
    "ZooWriter",
    "import_zoo",
    "open_source",
    "summarise",
    "summarise_run",
]
