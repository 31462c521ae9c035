"""The report of a universal experiment: how good networks are for architectures that were never trained on."""

from weightsmith.report.kinds import Report
from weightsmith.report.table import Table
from weightsmith.report.universal.page import write_report
from weightsmith.report.universal.summary import Summary, summarise
from weightsmith.report.universal.tables import families_table, splits_table, worst_table
from weightsmith.report.universal.verdict import headline_numbers, verdict


def _tables(summary: Summary, headline: str) -> list[Table]:
    return [splits_table(summary), families_table(summary), worst_table(summary)]


REPORT = Report(summarise, write_report, _tables, verdict, headline_numbers)

__all__ = ["REPORT", "Summary", "summarise", "write_report"]
