"""The report: tables, a verdict in words, and pictures, made from records and nothing else."""

from weightsmith.report.page import write_report
from weightsmith.report.summary import Summary, summarise

__all__ = ["Summary", "summarise", "write_report"]
