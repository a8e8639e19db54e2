"""The commands that the documents show are run, in their order, each document in one folder."""

import runpy
import shlex
import sys

import pytest

from tests.docs.documents import PAGES, ROOT, assert_prints, blocks

WITH_COMMANDS = [page for page in PAGES if any(one.language == "console" for one in blocks(page))]
# What a document's commands leave behind.
FILES = {
    "README.md": ("suspects.csv", "answers.parquet", "grads/manifest.json"),
    "tutorial-terminal.md": ("suspects.csv",),
}


@pytest.mark.parametrize("document", WITH_COMMANDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_of_the_document_run_as_they_stand(document, tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("click")
    pytest.importorskip("pyarrow")
    from headwater.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as python does for the script that it runs
    ran = 0
    for block in blocks(document):
        if block.file is not None:
            (tmp_path / block.file).write_text(block.body, encoding="utf-8")
        if block.language != "console":
            continue
        capsys.readouterr()
        for line in block.body.splitlines():
            program, *arguments = shlex.split(line, comments=True)
            ran += 1
            if program == "python":
                monkeypatch.setattr(sys, "argv", arguments)
                runpy.run_path(arguments[0], run_name="__main__")
                sys.modules.pop("attribution", None)
            else:
                assert program == "headwater"
                assert main(arguments) == 0, f"{line}\n{capsys.readouterr().err}"
        if block.prints is not None:
            assert_prints(block, capsys.readouterr().out, f"{document.name}: {line}")
    assert ran
    for name in FILES.get(document.name, ()):
        assert (tmp_path / name).is_file()
