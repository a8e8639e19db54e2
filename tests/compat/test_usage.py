"""Whole scripts of Captum's users, as they are and with another import."""

from pathlib import Path

import pytest
from torch import nn

from .nets import assert_close
from .warned import CAPTUM_WARNS

captum = pytest.importorskip("captum.influence")

USAGE = Path(__file__).with_name("usage")
pytestmark = [pytest.mark.end_to_end, *CAPTUM_WARNS]

# The scripts are in float32, as users' are.
TOLERANCE = 1e-4


@pytest.fixture
def both(tmp_path, monkeypatch):
    """Runs a script with each library, in a folder of its own; what the script's names hold."""

    def run(name):
        code = (USAGE / name).read_text(encoding="utf-8")
        changed = code.replace(
            "from captum.influence import", "from headwater.compat.captum import"
        )
        assert code.count("captum") == changed.count("captum") == 1
        held = []
        for library, text in (("captum", code), ("headwater", changed)):
            folder = tmp_path / library
            folder.mkdir()
            monkeypatch.chdir(folder)
            held.append({"__name__": "__main__"})
            exec(compile(text, name, "exec"), held[-1])
        return held

    return run


def test_text_classifier(both):
    theirs, mine = both("text_classifier.py")
    assert mine["scores"].shape == (6, 60)
    for name in ("scores", "influence_scores"):
        assert_close(mine[name], theirs[name], TOLERANCE)
    assert_close(theirs["scores"].gather(1, mine["indices"]), mine["influence_scores"], TOLERANCE)
    overall, total = mine["overall"], theirs["scores"].sum(dim=0, keepdim=True)
    assert_close(overall.influence_scores, theirs["overall"].influence_scores, TOLERANCE)
    assert_close(total.gather(1, overall.indices), overall.influence_scores, TOLERANCE)


def test_image_cnn(both):
    theirs, mine = both("image_cnn.py")
    for side, proponents in (("proponents", True), ("opponents", False)):
        indices, scores = mine[f"{side}_indices"], mine[f"{side}_scores"]
        for name in (f"{side}_indices", f"{side}_scores"):
            assert mine[name].shape == theirs[name].shape == (4, 10)
            assert mine[name].dtype == theirs[name].dtype
        # Captum's fast scores lack the bias of the layer; its slow ones are those of all of it.
        full = captum.TracInCP(
            theirs["net"],
            theirs["train_set"],
            theirs["paths"],
            theirs["checkpoints_load_func"],
            layers=["fc2"],
            loss_fn=nn.CrossEntropyLoss(reduction="none"),
            batch_size=80,
        )
        queries = theirs["test_features"], theirs["test_labels"]
        expected = full.influence(queries, k=10, proponents=proponents)
        assert_close(scores, expected.influence_scores, TOLERANCE)
        assert_close(full.influence(queries).gather(1, indices), scores, TOLERANCE)


def test_flipped_labels(both):
    theirs, mine = both("flipped_labels.py")
    for name in ("scores", "at_once", "by_default"):
        assert_close(mine[name], theirs["scores"], TOLERANCE)
    assert min(mine["found"], theirs["found"]) >= 10
