"""How Sphinx builds the documentation: `make docs`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import docstrings  # noqa: E402
import public  # noqa: E402
from sphinx import addnodes  # noqa: E402

import headwater  # noqa: E402

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "headwater"
author = "the authors of headwater"
version = release = headwater.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
root_doc = "index"

myst_heading_anchors = 3

html_theme = "furo"
html_title = "headwater"
html_static_path = ["_static"]
html_css_files = ["headwater.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
# Furo's fonts are those of the reader's system, so that nothing is fetched from elsewhere.
pygments_style = "friendly"
pygments_dark_style = "monokai"
highlight_language = "text"

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True


# Pages that are files of the repository's root, which is where people look for them.
FROM_ROOT = {"index": "README.md", "changelog": "CHANGELOG.md"}


def from_root(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put what stands in the repository's root on its page, and links to it right on all pages."""
    text = source[0]
    if docname in FROM_ROOT:
        path = HERE.parent / FROM_ROOT[docname]
        app.env.note_dependency(str(path))
        text = re.sub(r"\]\((?!docs/|https?:|#)", "](../", path.read_text(encoding="utf-8")) + text
        text = text.replace("](docs/", "](")
    for page, name in FROM_ROOT.items():
        text = text.replace(f"](../{name}", f"]({page}.md")
    source[0] = text


def _targets(full_name: str) -> dict[str, str]:
    """What a docstring of this object means by a name: in Captum's place, the classes there."""
    homes = sorted(public.public_objects(), key=lambda home: ".captum." in home)
    if ".captum." in full_name:
        homes.reverse()
    targets: dict[str, str] = {}
    for home in homes:
        targets.setdefault(home.rpartition(".")[2], home)
        targets.setdefault(home, home)
        # As users import them: errors, and whatever a package re-exports.
        targets.setdefault(f"headwater.{home.rpartition('.')[2]}", home)
    for method in ("influence", "attribute", "token_influence"):
        targets[method] = f"{targets['TracInCPBase']}.{method}"
    return targets


def convert_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Make reStructuredText of a docstring."""
    if name.startswith("headwater"):
        lines[:] = docstrings.as_rst(lines, _targets(name))


def full_names(app: Sphinx, doctree: Any) -> None:
    """Give the short names in signatures their full form, since several classes may have one."""
    targets = _targets("headwater.compat.captum.X" if app.env.docname == "api/captum" else "")
    for node in doctree.findall(addnodes.pending_xref):
        if node.get("refdomain") == "py" and node["reftarget"] in targets:
            node["reftarget"] = targets[node["reftarget"]]


def skip_fields(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> Any:
    """Leave out the fields of named tuples, which stand under Attributes."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.connect("source-read", from_root)
    app.connect("doctree-read", full_names)
    app.connect("autodoc-process-docstring", convert_docstring)
    app.connect("autodoc-skip-member", skip_fields)
