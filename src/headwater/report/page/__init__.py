"""The page itself: its template, its style, its scripts, and the charts' library within it."""

from headwater.report.page.digest import page_digest, signed_with_page
from headwater.report.page.render import refuse_missing, render

__all__ = ["page_digest", "refuse_missing", "render", "signed_with_page"]
