"""The digest of a page's text, in the record that stands on it."""

from __future__ import annotations

import hashlib
import html
from typing import TYPE_CHECKING, Any

from headwater.report.page.embedded import embedded_json
from headwater.report.provenance import DIGEST, citation, signed

if TYPE_CHECKING:
    from collections.abc import Mapping


def signed_with_page(record: Mapping[str, Any], page: str) -> dict[str, Any]:
    """The record with the digest of the page that it stands on; see `page_digest`."""
    facts = {name: one for name, one in record.items() if name not in ("format", "version", DIGEST)}
    results = {**facts["results"], "html": page_digest(page, record)}
    return signed({**facts, "results": results})


def page_digest(page: str, record: Mapping[str, Any]) -> str:
    """The SHA-256 of a page's text but for its record and the citation, which hold it."""
    # As jinja2 writes them; a record or citation that was changed stays, and changes the digest.
    for part in (embedded_json(record), html.escape(citation(record))):
        page = page.replace(part, "", 1)
    return hashlib.sha256(page.encode()).hexdigest()
