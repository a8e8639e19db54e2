"""The docstrings of headwater as reStructuredText, for Sphinx.

They are written to be read as they stand: code between single backticks, formulas and examples
indented, and sections of `name: meaning`. Sphinx's own reader of that style (napoleon) would take
an indented formula for a quotation, and the `*` in it for emphasis.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from textwrap import dedent

SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Source")
# Sections that are a list of `name: meaning`, or `name, name: meaning`.
_LISTS = ("Args", "Attributes", "Raises")
_HEADING = re.compile(rf"({'|'.join(SECTIONS)}):(?: (.*))?$")
_CODE = re.compile(r"(`[^`]+`)")
# A page of this documentation, by its place in the repository.
_PAGE = re.compile(r"\bdocs/([\w-]+)\.md")
_MARKUP = re.compile(r"([\\*|])|(?<=\w)(_)(?!\w)")
_ENTRY = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)", re.DOTALL)


def as_rst(lines: Iterable[str], targets: Mapping[str, str]) -> list[str]:
    """A docstring's lines as reStructuredText.

    Args:
        lines: of the docstring, without common indentation.
        targets: by the name that a docstring calls it, the full name of what it links to.
    """
    result: list[str] = []
    for heading, body in _sections(list(lines)):
        if heading is None:
            result += _prose(body, targets)
            continue
        result += [f":{heading}:"]
        if heading in _LISTS and (found := entries(body)):
            for names, meaning in found:
                shown = ", ".join(f"**{name}**" for name in names)
                if heading == "Raises":
                    shown = ", ".join(_link(name, targets) for name in names)
                text = _inline(meaning, targets)
                result += [f"    - {shown}: {text}"]
        else:
            result += [f"    {line}" if line else "" for line in _prose(body, targets)]
        result += [""]
    return result


def sections(docstring: str) -> dict[str, list[str]]:
    """The lines of a docstring's sections, by their headings."""
    return {name: body for name, body in _sections(docstring.splitlines()) if name is not None}


def entries(lines: list[str]) -> list[tuple[list[str], str]]:
    """The names and the meaning of each entry of a section; none if it is a sentence.

    Raises:
        ValueError: an entry isn't `name: meaning`.
    """
    if lines and lines[0].startswith(("as ", "see ")):
        return []
    found: list[str] = []
    for line in filter(str.strip, lines):
        if line.startswith(" ") or (found and not _ENTRY.fullmatch(found[-1])):
            found[-1] += f" {line.strip()}"
        else:
            found.append(line)
    matches = {entry: _ENTRY.fullmatch(entry) for entry in found}
    for entry, match in matches.items():
        if match is None:
            raise ValueError(f"expected `name: meaning`, got {entry!r}")
    return [(match[1].split(", "), match[2]) for match in matches.values() if match]


def _sections(lines: list[str]) -> Iterator[tuple[str | None, list[str]]]:
    heading: str | None = None
    body: list[str] = []
    for line in lines:
        match = _HEADING.match(line)
        if match is None:
            body.append(line)
            continue
        yield heading, body if heading is None else _undented(body)
        heading, body = match[1], [match[2]] if match[2] else []
    yield heading, body if heading is None else _undented(body)


def _undented(lines: list[str]) -> list[str]:
    # What stands beside the heading has no indentation.
    beside = bool(lines) and bool(lines[0].strip()) and not lines[0].startswith(" ")
    rest = dedent("\n".join(lines[1:] if beside else lines)).splitlines()
    return [*lines[:1], *rest] if beside else rest


def _prose(lines: list[str], targets: Mapping[str, str]) -> list[str]:
    """Paragraphs, and what is indented as a block of code."""
    result: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        for indented, text in _by_indentation(paragraph):
            if indented:
                code = dedent(text)
                result += [f".. code-block:: {_language(code)}", ""]
                result += [f"    {line}" for line in code.splitlines()]
            else:
                result += _inline(text, targets).splitlines()
            result += [""]
    return result


def _by_indentation(paragraph: str) -> list[tuple[bool, str]]:
    parts: list[tuple[bool, str]] = []
    for line in paragraph.splitlines():
        indented = line.startswith("    ")
        if parts and parts[-1][0] == indented:
            parts[-1] = (indented, f"{parts[-1][1]}\n{line}")
        else:
            parts.append((indented, line))
    return parts


def _language(code: str) -> str:
    try:
        ast.parse(code)
    except SyntaxError:
        return "text"
    return "python"


def _inline(text: str, targets: Mapping[str, str]) -> str:
    # A backtick at the end of one line may be closed on the next.
    result = ""
    for part in filter(None, _CODE.split(text)):
        is_code = part.startswith("`")
        # Markup ends where a word does; a backslash and a blank are nothing but such an end.
        glued = result and not result[-1].isspace() and (is_code or result[-1] == "`")
        if glued and (result[-1].isalnum() if is_code else part[0].isalnum()):
            result += "\\ "
        result += _code(part[1:-1], targets) if is_code else _text(part)
    return result


def _text(text: str) -> str:
    return _PAGE.sub(r":doc:`/\1`", _MARKUP.sub(r"\\\g<0>", text))


def _code(code: str, targets: Mapping[str, str]) -> str:
    code = " ".join(code.split())
    name = code.removesuffix("()")
    return _link(code, targets) if name in targets else f"``{code}``"


def _link(code: str, targets: Mapping[str, str]) -> str:
    target = targets.get(code.removesuffix("()"))
    return f"``{code}``" if target is None else f":py:obj:`{code} <{target}>`"
