"""What the documents point to is there."""

import re

import pytest

from tests.docs.documents import PAGES, README, ROOT

NAVIGATION = ROOT / "docs" / "index.md"


@pytest.mark.parametrize("document", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pictures_and_documents_that_the_document_points_to_exist(document):
    text = document.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert targets or document != README
    for target in targets:
        assert (document.parent / target).exists(), target


def test_every_page_has_a_place_in_the_navigation():
    entries = set(NAVIGATION.read_text(encoding="utf-8").split())
    missing = [page.stem for page in PAGES[1:] if page != NAVIGATION and page.stem not in entries]
    assert not missing


def test_the_readme_points_to_the_pages_for_users():
    text = README.read_text(encoding="utf-8")
    for name in ("tutorial", "tutorial-terminal", "scores", "methods", "hugging-face", "captum"):
        assert f"](docs/{name}.md)" in text
