"""A report: a page on which people find wrong labels and see what is behind predictions."""

from headwater.report.report import Report

__all__ = ["Report"]
