"""A report: a page on which people find wrong labels and see what is behind predictions."""

from headwater.report.report import Report
from headwater.report.verify import verify_report

__all__ = ["Report", "verify_report"]
