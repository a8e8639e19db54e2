"""The code that the documents show is run as it stands, and prints what they say that it prints."""

import contextlib
import io

import pytest

from tests.docs.documents import PAGES, README, ROOT, assert_prints, goes_on_from, python_blocks

WITH_CODE = [page for page in PAGES if page == README or python_blocks(page)]
LINES_TO_A_RANKED_LIST = 6


def run(document, namespace):
    for block in python_blocks(document):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block.body, str(document), "exec"), namespace)
        if block.prints is not None:
            line = block.body.count("\n", 0, len(block.body) - len(block.body.lstrip("\n")))
            assert_prints(block, printed.getvalue(), f"{document.name}:{line + 1}")


@pytest.mark.parametrize("document", WITH_CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_of_the_document_runs_as_it_stands(document, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    assert python_blocks(document), f"{document.name} has no ```python block"
    monkeypatch.chdir(tmp_path)
    first = goes_on_from(document)
    namespace = {"__name__": "__main__"}
    if first is not None:
        run(first, namespace)
    run(document, namespace)
    if document == README:
        # Again in the same folder, as whoever tries it does.
        run(document, {"__name__": "__main__"})


def test_from_a_trained_model_to_a_ranked_list_it_takes_at_most_six_lines(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    training, ranking, *_ = python_blocks(README)
    assert "headwater" not in training.body
    lines = [line for line in ranking.body.splitlines() if line.strip()]
    assert len(lines) <= LINES_TO_A_RANKED_LIST
    printed = io.StringIO()
    namespace = {"__name__": "__main__"}
    exec(training.body, namespace)
    with contextlib.redirect_stdout(printed):
        exec(ranking.body, namespace)
    ranks = [line for line in printed.getvalue().splitlines() if "training example" in line]
    assert len(ranks) == 5
