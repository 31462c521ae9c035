"""The report of a trajectory experiment: from unseen inits, step by step, beside the training it learned from."""

from weightsmith.report.kinds import Report
from weightsmith.report.trajectory.page import write_report
from weightsmith.report.trajectory.summary import Summary, summarise
from weightsmith.report.trajectory.tables import baseline_table, step_table
from weightsmith.report.trajectory.verdict import headline_numbers, verdict

REPORT = Report(
    summarise,
    write_report,
    lambda summary, headline: (step_table(summary, headline), baseline_table(summary)),
    verdict,
    headline_numbers,
)

__all__ = ["REPORT", "Summary", "summarise", "write_report"]
