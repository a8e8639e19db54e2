"""`headwater report` from the file to the page, and back."""

import pytest

from headwater.report.verify import _embedded

pytest.importorskip("vl_convert")


def test_a_report_is_made_and_verified(headwater, demo_run, tmp_path):
    status, out, err = headwater("report", demo_run, "-o", "made", "--traced", 4, "--no-progress")
    assert (status, err) == (0, "")
    page = tmp_path / "made" / "index.html"
    assert "open it in a browser" in out
    data = _embedded(page, page.read_text(encoding="utf-8"))["data"]
    assert data["kind"] == "images"
    assert data["count"] == 60
    assert data["overview"]["wrong"] == 6
    status, out, _ = headwater("report", "--verify", "made")
    assert status == 0
    assert "is as it was written" in out
    status, out, _ = headwater("report", demo_run, "--verify", "made")
    assert status == 0
    assert "of the run of" in out
    page.write_text(page.read_text(encoding="utf-8").replace('"count":60', '"count":61'))
    status, _, err = headwater("report", "--verify", "made")
    assert status != 0
    assert "was changed since it was written" in err


def test_what_is_asked_for_must_make_sense(headwater, written):
    assert headwater("report")[0] == 2
    file = written(("loss_fn =", "report_options = {'colour': 1}\nloss_fn ="))
    status, _, err = headwater("report", file)
    assert status != 0
    assert "has an entry 'colour'; expected some of" in err
    file = written(("loss_fn =", "report_options = ['rows']\nloss_fn ="), name="list.py")
    assert "is a list; expected a dict" in headwater("report", file)[2]
