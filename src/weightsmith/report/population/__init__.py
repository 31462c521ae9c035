"""The report of a population experiment: how good and how new sampled networks are, beside real ones and baselines."""

from weightsmith.report.kinds import Report
from weightsmith.report.population.page import write_report
from weightsmith.report.population.summary import Summary, summarise
from weightsmith.report.population.tables import given_table, sets_table
from weightsmith.report.population.verdict import headline_numbers, verdict
from weightsmith.report.table import Table


def _tables(summary: Summary, headline: str) -> list[Table]:
    tables = [sets_table(summary, member) for member in summary.members]
    return [*tables, given_table(summary)] if summary.given else tables


REPORT = Report(summarise, write_report, _tables, verdict, headline_numbers)

__all__ = ["REPORT", "Summary", "summarise", "write_report"]
