"""What the documents show: code that is run, commands, and what these print."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(
    r"^(?:<!-- file: (?P<file>\S+) -->\n)?(?P<varies><!-- varies by processor -->\n)?"
    r"```(?P<language>\w+)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_GOES_ON = re.compile(r"^<!-- goes on from: (\S+) -->$", re.MULTILINE)
_NUMBER = re.compile(r"[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass
class Block:
    """A fenced block of a document.

    Attributes:
        language: python, console or another.
        body: its text, for Python led by empty lines, so that a traceback names the document's.
        file: the name of the file that it is to be saved as, if any.
        prints: what the document says that it prints, if anything: the text block after it.
        varies: whether that hangs on a training run which a processor's rounding leads elsewhere.
    """

    language: str
    body: str
    file: str | None
    prints: str | None = None
    varies: bool = False


def blocks(document):
    """The blocks that are run, or saved as a file."""
    text = document.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        if match["language"] == "text" and found:
            found[-1].prints = match["body"]
            found[-1].varies = match["varies"] is not None
        elif match["language"] in ("python", "console"):
            lines = "\n" * text.count("\n", 0, match.start("body"))
            lead = lines if match["language"] == "python" and not match["file"] else ""
            found.append(Block(match["language"], lead + match["body"], match["file"]))
    return found


def python_blocks(document):
    return [one for one in blocks(document) if one.language == "python" and one.file is None]


def goes_on_from(document):
    """The document whose code comes before this one's, if there is one."""
    match = _GOES_ON.search(document.read_text(encoding="utf-8"))
    return None if match is None else ROOT / match[1]


def assert_prints(block, came, where):
    """What was printed has the words that the document shows, and its numbers within 2 %.

    Numbers depend on the processor's rounding. A line `...` stands for any lines. Of what varies
    there have to be as many lines.
    """
    expected = [line.split() for line in block.prints.splitlines() if line.strip()]
    printed = [line.split() for line in came.splitlines() if line.strip()]
    if block.varies:
        assert len(printed) == len(expected), f"{where}: of another length:\n{came}"
        return
    place = 0
    anywhere = False
    for line in expected:
        if line == ["..."]:
            anywhere = True
            continue
        if anywhere:
            while place < len(printed) and not _alike(line, printed[place]):
                place += 1
        found = place < len(printed) and _alike(line, printed[place])
        assert found, f"{where}: the document shows\n{' '.join(line)}\nprinted was\n{came}"
        place, anywhere = place + 1, False
    assert anywhere or place == len(printed), f"{where}: more was printed:\n{came}"


def _alike(shown, came):
    shown, came = " ".join(shown), " ".join(came)
    if _NUMBER.sub("#", shown) != _NUMBER.sub("#", came):
        return False
    pairs = zip(_NUMBER.findall(shown), _NUMBER.findall(came), strict=True)
    return all(
        float(one.replace(",", "")) == pytest.approx(float(other.replace(",", "")), rel=0.02)
        for one, other in pairs
    )
