"""The page as one HTML text."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from headwater.errors import MissingDependencyError
from headwater.report.page.chart_library import LICENCE, chart_library
from headwater.report.page.embedded import embedded_json
from headwater.report.provenance import citation

if TYPE_CHECKING:
    from collections.abc import Mapping

# In the order in which they run.
_SCRIPTS = (
    "dom.js",
    "run.js",
    "theme.js",
    "decisions.js",
    "charts.js",
    "examples.js",
    "suspects.js",
    "suspect.js",
    "keyboard.js",
    "why.js",
    "overview.js",
    "tabs.js",
)


def render(data: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """The page.

    Args:
        data: what it shows.
        record: its provenance.

    Raises:
        MissingDependencyError: jinja2 or vl-convert-python isn't installed.
    """
    environment = _environment()
    folder = files("headwater.report.page")

    def text(name: str) -> str:
        return folder.joinpath(name).read_text(encoding="utf-8")

    own = "\n".join(f"(() => {{\n{text(name)}}})();" for name in _SCRIPTS)
    scripts = [chart_library(), f'"use strict";\n{own}']
    safe = environment.filters["safe"]
    template = environment.from_string(text("page.html"))
    page: str = template.render(
        title=data["title"],
        data=safe(embedded_json(data)),
        record=safe(embedded_json(record)),
        citation=citation(record),
        style=safe(text("page.css")),
        scripts=[safe(script) for script in scripts],
        # No script runs but these two, whatever stands in the data, and nothing is loaded.
        hashes=" ".join(f"'sha256-{_hash(script)}'" for script in scripts),
        licence=LICENCE,
    )
    return page


def refuse_missing() -> None:
    """Raises MissingDependencyError where a page could not be rendered in the end."""
    _environment()
    chart_library()


def _hash(script: str) -> str:
    # As the parser of HTML hands it to the browser, with line ends of one kind.
    digest = hashlib.sha256(script.replace("\r\n", "\n").encode()).digest()
    return base64.b64encode(digest).decode("ascii")


def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise MissingDependencyError(
            "a report's page needs jinja2, which isn't installed: pip install 'headwater[report]'"
        ) from error
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
