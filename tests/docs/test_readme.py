"""The code that the documents show is run as it stands, one document after the other."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(document):
    """Each block's code, led by empty lines so that a traceback names the document's line."""
    text = document.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        yield "\n" * text.count("\n", 0, match.start(1)) + match.group(1)


DOCUMENTS = [
    document
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md")))
    if document == ROOT / "README.md" or any(python_blocks(document))
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_of_the_document_runs_as_it_stands(document, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    blocks = list(python_blocks(document))
    assert blocks, f"{document.name} has no ```python block"
    monkeypatch.chdir(tmp_path)
    # Twice in one folder, as whoever tries it does.
    for _ in range(2):
        namespace = {"__name__": "__main__"}
        for block in blocks:
            exec(compile(block, str(document), "exec"), namespace)


def test_pictures_and_documents_that_the_readme_points_to_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)\)", text)
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), target
