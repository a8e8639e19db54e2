"""`headwater check` and `headwater checkpoints`."""

import json
import os

import pytest
import torch

from headwater.check import comparison, measured_cost
from tests.cli import plain
from tests.cli.conftest import SMALL

MINE = """
class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        if float(x.sum()) > 1e9:
            return x
        return x * self.scale


def model():
    return nn.Sequential(Mine(), nn.Linear(3, 2))
"""
MEAN = """
class Mine(nn.Module):
    def forward(self, x):
        return x - x.mean(dim=0)


def model():
    return nn.Sequential(Mine(), nn.Linear(3, 2))
"""
FLOAT = """
class Mine(nn.Module):
    def forward(self, x):
        return x.float()


def model():
    return nn.Sequential(Mine(), nn.Linear(3, 2))
"""
PLAIN_MODEL = "def model():\n    return nn.Linear(3, 2)\n"


def test_the_example_of_init_is_exact(headwater, started):
    status, out, _ = headwater("check", started, "--queries", "0:3")
    assert status == 0
    assert out.startswith("1,500 training examples, 4 checkpoints, 2,410 parameters\n")
    assert "Is it exact?  Yes." in out
    assert "Nowhere: a rule for each of 2 layers." in out
    assert max(map(len, out.splitlines())) <= 80
    for word in ("self-influence", "influence, 3 queries", "store build", "factored"):
        assert word in out


def test_json_has_all_of_it(headwater, started):
    status, out, _ = headwater("check", started, "--queries", "0:3", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["exact"] is True
    assert found["compared"]["difference_in_float64"] < 1e-12
    assert found["compared"]["difference"] < 1e-4
    assert (found["training_examples"], found["checkpoints"], found["queries"]) == (1500, 4, 3)
    assert [layer["numbers"] for layer in found["layers"]] == [64 * 32 + 32, 32 * 10 + 10]
    assert found["all_scores_bytes"] == 4 * 3 * 1500
    assert found["store_bytes"]["materialised"] >= 4 * 2410 * 4 * 1500
    assert all(one["seconds"] > 0 and one["memory"] > 1e6 for one in found["predictions"])


def test_the_predicted_size_of_a_store_is_that_of_the_store(headwater, started):
    _, out, _ = headwater("check", started, "--no-cost", "--json")
    predicted = json.loads(out)["store_bytes"]["factored"]
    assert headwater("store", "build", started, "grads")[0] == 0
    _, out, _ = headwater("store", "info", "grads", "--json")
    assert json.loads(out)["nbytes"] == pytest.approx(predicted, rel=0.15)


def test_a_layer_without_a_rule_is_named_with_its_way(headwater, written):
    path = written((PLAIN_MODEL, MINE))
    status, out, err = headwater("check", path, "--no-cost")
    assert status == 0
    assert "Is it exact?  Yes." in out
    assert "1 of 2 layers without a rule of its own" in out
    assert ["0", "Mine", "3", "one", "pass", "per", "example"] in map(str.split, out.splitlines())
    assert err.count("one pass per example") == 1


def test_a_model_that_mixes_examples_is_not_exact(headwater, written):
    path = written((PLAIN_MODEL, MEAN))
    status, out, _ = headwater("check", path, "--no-cost")
    assert status == 1
    assert "Is it exact?  NO" in out
    assert "mixes the examples of a batch" in " ".join(out.split())
    status, out, _ = headwater("check", path, "--json")
    assert status == 1
    assert json.loads(out)["exact"] is False


@pytest.mark.parametrize("factor", [1 + 1e-6, -1])
def test_scores_that_are_off_are_found(headwater, written, monkeypatch, factor):
    right = comparison.plain_scores
    monkeypatch.setattr(comparison, "plain_scores", lambda *a: factor * right(*a))
    status, out, _ = headwater("check", written(), "--no-cost")
    assert status == 1
    assert "Is it exact?  NO." in out
    assert "don't rely on these scores" in " ".join(out.split())


def test_rates_are_part_of_what_is_checked(headwater, written, monkeypatch):
    right = comparison.plain_scores

    def squared(queries, training, rates):
        return right(queries, training, {name: rate**2 for name, rate in rates.items()})

    monkeypatch.setattr(comparison, "plain_scores", squared)
    assert headwater("check", written(), "--no-cost")[0] == 1


def test_a_model_that_has_no_float64_is_checked_in_its_own_precision(headwater, written):
    path = written((PLAIN_MODEL, FLOAT))
    status, out, _ = headwater("check", path, "--no-cost")
    assert status == 0
    assert "isn't computed in float64" in " ".join(out.split())
    assert "against a plain loop of autograd. The" in " ".join(out.split())


def test_of_a_projection_the_exact_gradients_are_checked(headwater, written):
    setting = "from headwater import Projected\nprojection = Projected(4)\nloss_fn ="
    status, out, _ = headwater("check", written(("loss_fn =", setting)), "--no-cost")
    assert status == 0
    assert "Projected(dim=4" in out
    assert "will be estimates" in " ".join(out.split())


def test_the_model_and_its_weights_are_as_before(written):
    from headwater.check import exactness, layers_of
    from headwater.cli.attribution import AttributionFile

    given = AttributionFile(written())
    before = {name: tensor.clone() for name, tensor in given.model.state_dict().items()}
    estimator = given.estimator()
    question = estimator._question(**given.inputs(given.queries.picked([0, 1])))
    singles = [estimator._question(**given.inputs(given.queries.picked([q]))).batch for q in (0, 1)]
    exactness(estimator, [0, 7, 29], question, singles)
    layers_of(estimator, [0, 1])
    for name, tensor in given.model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(p.grad is None and p.requires_grad for p in given.model.parameters())


def test_costs_are_told_apart_into_what_is_once_and_what_is_per_example(monkeypatch):
    now = [0.0]

    def run(size):
        now[0] += 5 + 0.01 * size

    monkeypatch.setattr("headwater.check.cost.time.perf_counter", lambda: now[0])
    cost = measured_cost(run, 100_000)
    assert cost.seconds == pytest.approx(5 + 0.01 * 100_000, rel=0.01)
    assert cost.measured_on < 100_000


def test_checkpoints_are_listed_with_rate_loss_and_share(headwater, demo_run):
    folder = demo_run.parent / "checkpoints"
    status, out, _ = headwater("checkpoints", demo_run, "--examples", SMALL.train_size, "--json")
    assert status == 0
    found = json.loads(out)["checkpoints"]
    assert [one["name"] for one in found] == ["ckpt-2.pt", "ckpt-4.pt"]
    model, checkpoints, training, _ = plain.run_of(SMALL, folder)
    own = []
    for one, (state, rate) in zip(found, checkpoints, strict=True):
        model.load_state_dict(state)
        losses = [plain.loss(model, example).item() for example in training]
        assert one["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-4)
        assert one["rates"] == [pytest.approx(rate)]
        names = plain.tracin.trainable_names(model)
        alone = [(state, rate)]
        own.append(plain.tracin.self_influence(model, alone, plain.loss, training, names).sum())
    shares = torch.stack(own) / sum(own)
    assert [one["share"] for one in found] == pytest.approx(shares.tolist(), rel=1e-4)


def test_which_to_take_is_said_for_a_recording(headwater, demo_run, written):
    _, out, _ = headwater("checkpoints", demo_run)
    assert "recommended for checkpoints of a CheckpointRecorder" in " ".join(out.split())
    recording = f"""
class Recording(list):
    reason = "the loss falls there."

    def recommend(self, n):
        assert n == 1
        chosen = Recording(self[:1])
        return chosen


torch.save({{"model": model().state_dict(), "learning_rate": 0.1}}, {os.fspath("a.pt")!r})
torch.save({{"model": model().state_dict(), "learning_rate": 0.2}}, {os.fspath("b.pt")!r})
recording = Recording(["a.pt", "b.pt"])
checkpoints = recording
unused = """
    path = written(("checkpoints = ", recording))
    status, out, _ = headwater("checkpoints", path, "--recommend", 1)
    assert status == 0
    rows = [line.split() for line in out.splitlines() if ".pt" in line]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("a.pt", "0.1", "yes"),
        ("b.pt", "0.2", rows[1][-1]),
    ]
    assert rows[1][-1].endswith("%")
    assert "Recommended: the loss falls there." in out


def test_it_shows_how_the_work_is_divided_within_the_budget(headwater, written):
    path = written(("loss_fn =", "memory_budget = 40\nloss_fn ="))
    status, out, _ = headwater("check", path, "--queries", "0:3", "--no-cost", "--json")
    assert status == 0
    plan = json.loads(out)["plan"]
    assert plan["memory_budget"] == 40
    assert plan["queries_at_once"] == 1
    assert not plan["checkpoints_resident"]
    assert plan["passes_over_the_training_data"] > 1
    status, out, _ = headwater("check", path, "--queries", "0:3", "--no-cost")
    assert status == 0
    assert "Within 40 bytes" in out or "Within 40 B" in out
    assert "1 of 3 at once" in out
    assert "one after another" in out


def test_what_fits_is_held_at_once_and_the_data_read_once(headwater, started):
    _, out, _ = headwater("check", started, "--queries", "0:3", "--no-cost", "--json")
    plan = json.loads(out)["plan"]
    assert plan["checkpoints_resident"]
    assert (plan["queries_at_once"], plan["groups_of_layers"]) == (3, 1)
    assert plan["passes_over_the_training_data"] == 1
    assert 0 < plan["held"] < plan["memory_budget"]
