"""The report: tables, a verdict in words, and pictures, made from records and nothing else."""

from weightsmith.report.kinds import Report, report_of

__all__ = ["Report", "report_of"]
