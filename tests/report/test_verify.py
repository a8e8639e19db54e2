"""A record that is as it was written, and everything that can be otherwise."""

import json

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import Report, ReportError, TracInCP, verify_report
from headwater.cleaning import fingerprint_of
from headwater.report.provenance import citation, digest_of
from tests.report.conftest import linear


def with_data(run, images, given, checkpoints):
    return TracInCP(
        linear(),
        TensorDataset(images, given),
        checkpoints,
        loss_fn=nn.CrossEntropyLoss(reduction="none"),
        batch_size=13,
    )


def test_a_report_is_of_its_run_whatever_the_batch_size(run, page):
    record = verify_report(page, with_data(run, run.images, run.given, run.checkpoints))
    assert record == verify_report(page.parent)
    assert record["data"]["fingerprint"] == fingerprint_of(run.estimator())
    assert record["sha256"] in citation(record)
    assert [one["rates"] for one in record["checkpoints"]] == [[0.3], [0.07]]


def test_another_run_is_refused_by_name(run, page):
    given = run.given.clone()
    given[77] = (given[77] + 1) % 10
    (first, rate), last = run.checkpoints
    moved = {name: tensor + 1e-3 for name, tensor in first.items()}
    for name, estimator in {
        "training data": with_data(run, run.images, given, run.checkpoints),
        "number of training examples": with_data(run, run.images[1:], given[1:], run.checkpoints),
        "number of checkpoints": with_data(run, run.images, run.given, [last]),
        "learning rates": with_data(run, run.images, run.given, [(first, rate * rate), last]),
        "weights": with_data(run, run.images, run.given, [(moved, rate), last]),
    }.items():
        with pytest.raises(ReportError, match=name):
            verify_report(page, estimator)


def test_a_page_or_record_that_was_changed_is_refused(page, tmp_path):
    text = page.read_text(encoding="utf-8")
    changed = tmp_path / "changed.html"
    for old, new, said in [
        ('"title":"Digits"', '"title":"Others"', "what the page shows was changed"),
        ('"examples":130', '"examples":131', "record was changed"),
        ('"headwater-provenance"', '"another"', "no provenance record"),
        ('id="data"', 'id="other"', "no part 'data'"),
        ("and 130 training examples", "and 999 training examples", "page was changed"),
        ("<body>", "<body><!-- added -->", "page was changed"),
    ]:
        assert old in text
        changed.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(ReportError, match=said):
            verify_report(changed)
    with pytest.raises(ReportError, match="can't be read"):
        verify_report(tmp_path / "absent.html")


def test_the_digest_is_of_sorted_json_without_spaces():
    import hashlib

    text = json.dumps({"a": [1.5, "é"], "b": None}, separators=(",", ":"))
    assert digest_of({"b": None, "a": [1.5, "é"]}) == hashlib.sha256(text.encode()).hexdigest()


def test_a_report_leaves_the_model_as_it_was(run):
    estimator = run.estimator()
    before = {name: tensor.clone() for name, tensor in estimator.model.state_dict().items()}
    estimator.model.train()
    assert Report(estimator, traced=3).provenance["results"]["queries"] == 0
    assert estimator.model.training
    assert all(torch.equal(before[k], v) for k, v in estimator.model.state_dict().items())
    assert not estimator.model._forward_hooks
