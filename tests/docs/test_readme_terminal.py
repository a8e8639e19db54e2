"""The commands that the README shows for the terminal are run, in their order, in one folder."""

import re
import runpy
import shlex

import pytest

from tests.docs.test_readme import ROOT

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [line for block in BLOCK.findall(text) for line in block.splitlines()]


def test_commands_of_the_readme_run_as_they_stand(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("click")
    pytest.importorskip("pyarrow")
    from headwater.cli.main import main

    monkeypatch.chdir(tmp_path)
    lines = commands()
    assert len(lines) > 10
    for line in lines:
        program, *arguments = shlex.split(line)
        if program == "python":
            runpy.run_path(arguments[0], run_name="__main__")
        else:
            assert program == "headwater"
            assert main(arguments) == 0, f"{line}\n{capsys.readouterr().err}"
    for name in ("suspects.csv", "answers.parquet", "grads/manifest.json"):
        assert (tmp_path / name).is_file()
