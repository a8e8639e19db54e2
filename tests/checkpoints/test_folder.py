from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from headwater.checkpoints.folder import checkpoint_files
from headwater.errors import CheckpointError, HeadwaterWarning, NoCheckpointsError


def save(path: Path, *, legacy: bool = False) -> None:
    torch.save({"w": torch.ones(2)}, path, _use_new_zipfile_serialization=not legacy)


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_digits_are_read_as_numbers(tmp_path: Path) -> None:
    for name in ["ckpt-10.pt", "ckpt-9.pt", "ckpt-2.pt", "ckpt-02.pt", "best.pt"]:
        save(tmp_path / name)
    expected = ["best.pt", "ckpt-02.pt", "ckpt-2.pt", "ckpt-9.pt", "ckpt-10.pt"]
    assert names(checkpoint_files(tmp_path, any_format=False)) == expected


def test_checkpoints_are_recognised_by_content_and_the_rest_is_named(tmp_path: Path) -> None:
    save(tmp_path / "1")
    save(tmp_path / "2.whatever", legacy=True)
    (tmp_path / "3.safetensors").write_bytes(b"")
    (tmp_path / "notes.pt").write_text("no checkpoint")
    (tmp_path / "sub").mkdir()
    save(tmp_path / "sub" / "ckpt.pt")
    save(tmp_path / "4.pt.tmp")
    save(tmp_path / ".hidden.pt")
    with pytest.warns(HeadwaterWarning) as caught:
        found = checkpoint_files(tmp_path, any_format=False)
    assert names(found) == ["1", "2.whatever", "3.safetensors"]
    assert len(caught) == 1
    assert "skipped: 4.pt.tmp, notes.pt, sub/ and 1 hidden file;" in str(caught[0].message)


def test_an_ordinary_zip_archive_is_no_checkpoint(tmp_path: Path) -> None:
    import zipfile

    save(tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        archive.writestr("readme", "text")
    with pytest.warns(HeadwaterWarning, match=r"b\.pt"):
        assert names(checkpoint_files(tmp_path, any_format=False)) == ["a.pt"]


def test_a_checkpoint_that_was_cut_off_is_not_left_out(tmp_path: Path) -> None:
    save(tmp_path / "a.pt")
    whole = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "b.pt").write_bytes(whole[: len(whole) // 2])
    assert names(checkpoint_files(tmp_path, any_format=False)) == ["a.pt", "b.pt"]


def test_one_checkpoint_is_one(tmp_path: Path) -> None:
    save(tmp_path / "1.pt")
    (tmp_path / "notes.txt").write_text("no checkpoint")
    with pytest.warns(HeadwaterWarning, match=r"^1 checkpoint taken from the folder .* notes\.txt"):
        checkpoint_files(tmp_path, any_format=False)


def test_at_most_five_skipped_names_are_listed(tmp_path: Path) -> None:
    save(tmp_path / "a.pt")
    for number in range(8):
        (tmp_path / f"n{number}.txt").touch()
    expected = r"n0\.txt, n1\.txt, n2\.txt, n3\.txt, n4\.txt, \.\.\. and 3 more"
    with pytest.warns(HeadwaterWarning, match=expected):
        checkpoint_files(tmp_path, any_format=False)


def test_hidden_files_alone_are_skipped_without_a_word(tmp_path: Path) -> None:
    save(tmp_path / "a.pt")
    (tmp_path / ".DS_Store").touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert names(checkpoint_files(tmp_path, any_format=False)) == ["a.pt"]


def test_links_to_files_are_followed_and_dead_ones_named(tmp_path: Path) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    save(tmp_path / "a.pt")
    (folder / "link.pt").symlink_to(tmp_path / "a.pt")
    (folder / "dead.pt").symlink_to(tmp_path / "missing.pt")
    with pytest.warns(HeadwaterWarning, match=r"dead\.pt"):
        assert names(checkpoint_files(folder, any_format=False)) == ["link.pt"]


def test_any_format_takes_all_but_well_known_companions(tmp_path: Path) -> None:
    for name in ["w.npz", "x", "log.TXT", "a.json", "b.py", "c.yaml", "d.tmp", "plot.png"]:
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    with pytest.warns(HeadwaterWarning, match=r"a\.json, b\.py"):
        assert names(checkpoint_files(tmp_path, any_format=True)) == ["w.npz", "x"]


@pytest.mark.parametrize("any_format", [False, True])
def test_a_folder_without_checkpoints_says_what_it_holds(tmp_path: Path, any_format: bool) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".git").mkdir()
    expected = "no checkpoint in the folder .*: it holds notes.txt and 1 hidden file; expected"
    with pytest.raises(NoCheckpointsError, match=expected):
        checkpoint_files(tmp_path, any_format=any_format)


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(NoCheckpointsError, match="it holds nothing; expected"):
        checkpoint_files(tmp_path, any_format=False)


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(CheckpointError, match=r"can't be read \(not yours\)"):
        checkpoint_files(tmp_path, any_format=False)
