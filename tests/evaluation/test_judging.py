"""Methods side by side, and what removal does, against plain loops."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from headwater import InputError, TracInCP
from headwater.errors import ModelError
from headwater.estimators import DataInfluence
from headwater.evaluation import (
    METHODS,
    Method,
    Recipe,
    RecipeRetraining,
    RetrainedBank,
    Subsets,
    TrainedRun,
    block_removal,
    judge_by_detection,
    judge_by_lds,
    linear_datamodeling_score,
    methods_named,
    reference_run,
    removal_curve,
)

from .digits import CROSS_ENTROPY, digits, mlp
from .test_stacked_training import plain_loop

RECIPE = Recipe(3, 8, 0.3, settings={"momentum": 0.5})
QUERIES = digits(1500, 1504)


def retraining(data=None, at_once=4):
    given = digits(0, 48) if data is None else data
    return RecipeRetraining(mlp, given, RECIPE, loss_fn=CROSS_ENTROPY, at_once=at_once)


def test_removing_a_block_is_the_same_training_without_it():
    blocks = [[0, 5], [47]]
    removals = block_removal(retraining(), QUERIES, blocks, seeds=[3, 4])
    assert removals.changes.shape == removals.margins.shape == (2, 4, 2)
    for place, seed in enumerate((3, 4)):
        losses = []
        for removed in ([], *blocks):
            model = mlp()
            model.load_state_dict(
                plain_loop(mlp, digits(0, 48), RECIPE, list(range(48)), seed, removed)
            )
            with torch.no_grad():
                losses.append(CROSS_ENTROPY(model(QUERIES[0]), QUERIES[1]))
        for column in (0, 1):
            torch.testing.assert_close(
                removals.changes[place, :, column], losses[column + 1] - losses[0]
            )
    # Scores that are the changes themselves agree with them, by the block's sum.
    scores = torch.zeros(4, 48, dtype=torch.float64)
    scores[:, 5] = removals.changes.mean(dim=0)[:, 0]
    scores[:, 47] = removals.changes.mean(dim=0)[:, 1]
    assert removals.agreement(scores).pearson == pytest.approx(1)
    assert removals.agreement(-scores).spearman == pytest.approx(-1)
    assert -1 <= removals.agreement_of_seeds() <= 1


def test_a_removal_curve_by_hand():
    made = retraining(at_once=64)
    scores = torch.zeros(2, 48)
    scores[0, [4, 9, 2]] = torch.tensor([3.0, 2, 1])
    scores[1, [7, 8, 3]] = torch.tensor([3.0, 2, 1])
    queries = digits(1500, 1502)
    curve = removal_curve(made, queries, {"mine": scores}, removed=[1, 3], seeds=[5])
    blocks = [[4], [7], [4, 9, 2], [7, 8, 3]]
    changes = block_removal(made, queries, blocks, seeds=[5]).changes[0]
    expected = [(changes[0, 0] + changes[1, 1]) / 2, (changes[0, 2] + changes[1, 3]) / 2]
    assert curve.removed == [1, 3]
    assert curve.rise["mine"] == pytest.approx([float(one) for one in expected])
    assert list(curve.rise) == ["mine", "random removal", "random removal, same class"]
    assert all(0 <= one <= 1 for some in curve.flipped.values() for one in some if one == one)
    with pytest.raises(InputError, match="fewer than the 48"):
        removal_curve(made, queries, {}, removed=[48])


def test_random_removal_of_a_class_takes_no_other_class():
    from headwater.evaluation.in_memory import InMemory
    from headwater.evaluation.removal_curve import SAME_CLASS, _baselines

    made = retraining()
    orders = _baselines(made, InMemory(QUERIES))[SAME_CLASS]
    labels = made.data.targets()
    for order, label in zip(orders, QUERIES[1], strict=True):
        named = order[order >= 0]
        assert sorted(named.tolist()) == (labels == label).nonzero()[:, 0].tolist()


def test_the_reference_run_is_the_recorded_training_of_all_data():
    made = retraining()
    with reference_run(made, seed=2, checkpoints=4, others=2) as run:
        expected = plain_loop(mlp, digits(0, 48), RECIPE, list(range(48)), 2)
        for name, tensor in run.model.state_dict().items():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-9, atol=1e-11)
        assert len(run.checkpoints) == 4
        # 0.3 / (1 - 0.5): momentum counts.
        assert {rate for rates in run.checkpoints.rates for rate in rates} == {0.6}
        assert len(run.others) == 2
        several = run.of_several_models()["checkpoints"]
        assert [rate for _, rate in several] == [1.0, 1.0, 1.0]
        scores = TracInCP(**run.of_several_models()).influence(*QUERIES)
        each = sum(
            TracInCP(**run.of_all_layers(checkpoints=[one])).influence(*QUERIES) for one in several
        )
        torch.testing.assert_close(scores, each)
        one = run.without_series()
        assert set(one) == {
            "model", "influence_src_dataset", "loss_fn", "task", "layers", "checkpoint",
        }  # fmt: skip
        assert torch.equal(one["checkpoint"]["0.weight"], run.model[0].weight)


def test_the_reference_run_can_be_taken_again():
    made = retraining()
    with reference_run(made, seed=2, checkpoints=4) as run:
        taken = run.replayed()
        assert taken.verify() == 0.0
        scores = METHODS["unrolling"].make(run).influence(*QUERIES)
        assert scores.shape == (4, 48)
        weights = torch.ones(48, dtype=torch.float64)
        weights[5] -= 1e-4
        fall = taken.losses(*QUERIES, example_weights=weights) - taken.losses(*QUERIES)
        torch.testing.assert_close(scores[:, 5], fall / 1e-4, rtol=1e-2, atol=1e-7)
    with pytest.raises(InputError, match=r"recorder.batch\(places\)"):
        replace(run, replay=None).replayed()


class Failing(DataInfluence):
    def influence(self, inputs=None, *rest, **kwargs):
        raise ModelError("no such layer here")


class NaN(DataInfluence):
    def influence(self, inputs=None, *rest, **kwargs):
        return torch.full((4, 48), torch.nan)


@pytest.mark.filterwarnings("ignore:conjugate gradients stopped after 10 steps")
def test_methods_are_judged_by_one_bank(tmp_path):
    made = retraining()
    bank = RetrainedBank.build(tmp_path, made, Subsets(5, runs=2), QUERIES)
    inputs = {"inputs": QUERIES[0], "targets": QUERIES[1]}
    methods = {**METHODS, "failing": Method("failing", lambda run: Failing())}
    with reference_run(made, checkpoints=3) as run:
        own = TracInCP(**run.of_all_layers()).influence(*QUERIES)
        found = judge_by_lds(methods, run, bank, inputs, given={"mine": own})
    ranked = {name for name, method in METHODS.items() if method.has_scores}
    assert set(found) == {*ranked, "failing", "mine"}
    # The run is of SGD.
    failures = {name for name, one in found.items() if one.failure}
    assert failures == {"failing", "tracin-adam", "less"}
    expected = linear_datamodeling_score(own, bank)
    assert found["tracin"].lds.value == found["mine"].lds.value == expected.value
    assert found["failing"].lds is None
    assert math.isnan(found["failing"].seconds)
    assert found["tracin"].seconds > 0
    assert found["trak"].title == "TRAK, one model"
    assert METHODS["trak"].title_of(replace(run, others=[[]] * 4)) == "TRAK, five models"
    assert found["failing"].failure == "no such layer here"
    with pytest.raises(InputError, match="there is no method 'ekfack'"):
        methods_named(["tracin", "ekfack"])


def test_queries_that_the_bank_did_not_measure_are_refused(tmp_path):
    made = retraining()
    bank = RetrainedBank.build(tmp_path, made, Subsets(3, runs=1), QUERIES)
    methods = methods_named(["tracin"])
    with reference_run(made, checkpoints=2) as run:
        beside_nan = {"nan": Method("nan", lambda run: NaN()), **methods}
        as_batch = judge_by_lds(beside_nan, run, bank, QUERIES)
        assert "NaN" in as_batch["nan"].failure
        by_name = judge_by_lds(methods, run, bank, {"inputs": QUERIES[0], "targets": QUERIES[1]})
        assert as_batch["tracin"].lds.value == by_name["tracin"].lds.value
        others = digits(1501, 1505)
        for wrong in (others, {"inputs": others[0], "targets": others[1]}):
            with pytest.raises(InputError, match="aren't those that the bank at"):
                judge_by_lds(methods, run, bank, wrong)
        with pytest.raises(InputError, match="3 queries came"):
            judge_by_lds(methods, run, bank, digits(1500, 1503))
        asked = bank.asked(made, others)
        assert judge_by_lds(methods, run, asked, others)["tracin"].lds is not None
        with pytest.raises(InputError, match="per training example, transpose them") as caught:
            judge_by_lds({}, run, bank, QUERIES, given={"mine": torch.zeros(48, 4)})
        assert "axes" not in str(caught.value)


def test_baselines_are_what_they_say():
    made = retraining()
    with reference_run(made, checkpoints=3) as run:
        inputs, targets = made.data.whole
        with torch.no_grad():
            expected = CROSS_ENTROPY(run.model(inputs), targets)
        found = METHODS["training-loss"].make(run).influence()
        torch.testing.assert_close(found, expected)
        before = [tensor.clone() for tensor in run.model.parameters()]
        by_checkpoint = []
        for checkpoint in run.checkpoints:
            from safetensors.torch import load_file

            net = mlp()
            net.load_state_dict(load_file(checkpoint))
            with torch.no_grad():
                by_checkpoint.append(CROSS_ENTROPY(net(inputs), targets))
        mean = METHODS["training-loss-mean"].make(run).influence()
        torch.testing.assert_close(mean, sum(by_checkpoint) / 3)
        assert all(map(torch.equal, before, run.model.parameters()))
        random = METHODS["random"].make(run)
        assert torch.equal(random.influence(), METHODS["random"].make(run).influence())
        assert random.influence(*QUERIES).shape == (4, 48)


def test_wrong_labels_are_found_by_the_loss_and_not_by_chance():
    methods = methods_named(["tracin", "training-loss", "random"])
    data = digits(0, 150)
    found = judge_by_detection(methods, retraining, data, seeds=[0, 1], checkpoints=4)
    assert set(found) == {"tracin", "training-loss", "random", "margin"}
    assert found["training-loss"].mean("auroc").value > 0.8
    assert found["tracin"].mean("auroc").value > 0.6
    interval = found["random"].mean("auroc")
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    one = found["random"].runs[0], found["random"].runs[1]
    half = 12.71 * abs(one[0].auroc - one[1].auroc) / 2
    assert interval.high == pytest.approx(min(1, interval.value + half))
    with pytest.raises(InputError, match="label from 0"):
        judge_by_detection(methods, retraining, (data[0], data[0]))


def test_a_run_knows_its_last_layer_and_last_checkpoint(tmp_path):
    state = mlp().state_dict()
    torch.save({"model": state, "learning_rate": 0.3}, tmp_path / "ckpt-1.pt")
    torch.save({"model": state, "learning_rate": 0.3}, tmp_path / "ckpt-2.pt")
    known = {"model": mlp(), "train_dataset": None}
    run = TrainedRun(checkpoints=tmp_path, options={"learning_rates": [0.1, 0.2]}, **known)
    assert run.last_linear == "2"
    assert [(str(path)[-9:], rate) for path, rate in run.last] == [("ckpt-2.pt", 1.0)]
    assert "learning_rates" in run.arguments()
    assert "learning_rates" not in run.of_the_trained_model()
    assert str(run.without_series()["checkpoint"]).endswith("ckpt-2.pt")
    assert TrainedRun(checkpoints=[(state, 0.3)], **known).last == [(state, 1.0)]
    with pytest.raises(InputError, match=r"no nn\.Linear"):
        _ = TrainedRun(model=nn.Flatten(), train_dataset=None, checkpoints=[]).last_linear
