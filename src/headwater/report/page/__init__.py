"""The page itself: its template, its style, its scripts, and the charts' library within it."""

from headwater.report.page.render import render

__all__ = ["render"]
