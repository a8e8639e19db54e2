"""Banks of retrained models: resumed, refused, asked again."""

import json
import os
import re

import pytest
import torch

from headwater import (
    BankCorruptError,
    BankError,
    BankIncompleteError,
    BankLockedError,
    BankMismatchError,
    BankNotFoundError,
    BankVersionError,
    BankWriteError,
    InputError,
    NonFiniteError,
)
from headwater.evaluation import (
    FunctionRetraining,
    Recipe,
    RecipeRetraining,
    RetrainedBank,
    Subsets,
    best_on_tuning_bank,
    linear_datamodeling_score,
)
from headwater.evaluation.bank_files import MANIFEST, BankFiles
from headwater.evaluation.tuning import refuse_tuning_bank

from .digits import CROSS_ENTROPY, digits, mlp

RECIPE = Recipe(1, 8, 0.3)
SUBSETS = Subsets(4, runs=2, seed=3)
QUERIES = digits(1500, 1505)


def retraining(at_once=2, **changes):
    known = {"model": mlp, "dataset": digits(0, 40), "recipe": RECIPE}
    return RecipeRetraining(**{**known, **changes}, loss_fn=CROSS_ENTROPY, at_once=at_once)


def stopping_after(parts):
    """A retraining that is interrupted after so many groups of models."""
    made = retraining()
    whole, left = made.states, iter(range(parts))

    def states(runs):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return whole(runs)

    made.states = states
    return made


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("banks") / "bank"
    return RetrainedBank.build(folder, retraining(), SUBSETS, QUERIES)


def test_a_bank_has_what_models_on_its_subsets_say(bank):
    assert bank.membership.shape == (4, 40)
    assert bank.membership.sum(dim=1).tolist() == [20] * 4
    assert bank.quantities == ["loss", "margin"]
    losses, margins = bank.measured("loss"), bank.measured("margin")
    assert losses.shape == margins.shape == (2, 4, 5)
    plan = SUBSETS.plan(40)
    assert len({run.seed for run in plan}) == 8
    for number, run in enumerate(plan):
        assert torch.equal(run.present(40), bank.membership[number % 4])
        model = retraining(1).train(run).eval()
        with torch.no_grad():
            predictions = model(QUERIES[0])
        expected = CROSS_ENTROPY(predictions, QUERIES[1])
        torch.testing.assert_close(losses[number // 4, number % 4], expected)
        # The margin is log(p / (1 - p)), and the loss -log(p).
        chance = (-expected).exp()
        torch.testing.assert_close(margins[number // 4, number % 4], (chance / (1 - chance)).log())


def test_an_interrupted_bank_is_refused_and_goes_on_to_the_same_bytes(bank, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        RetrainedBank.build(tmp_path, stopping_after(2), SUBSETS, QUERIES)
    with pytest.raises(BankIncompleteError, match="has 4 of 8 models"):
        RetrainedBank.open(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        RetrainedBank.build(tmp_path, stopping_after(1), SUBSETS, QUERIES)
    assert RetrainedBank.finished(tmp_path) == (6, 8)
    told = []
    RetrainedBank.build(
        tmp_path, retraining(), SUBSETS, QUERIES, on_begin=lambda *counts: told.append(counts)
    )
    assert told == [(6, 8)]
    assert RetrainedBank.finished(tmp_path) == (8, 8)
    assert RetrainedBank.finished(tmp_path / "elsewhere") == (0, 0)
    for path in bank.path.glob("*.*"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_finished_bank_is_opened_as_it_is(bank):
    again = RetrainedBank.build(bank.path, stopping_after(0), SUBSETS, QUERIES)
    assert torch.equal(again.measured(), bank.measured())
    assert repr(again) == repr(bank)
    assert "subsets=4, fraction=0.5, runs=2, examples=40, queries=5" in repr(bank)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"made": retraining(recipe=Recipe(2, 8, 0.3))}, r"another epochs \(1 there, 2 now\)\."),
        ({"made": retraining(dataset=digits(1, 41))}, r"built with other training data\."),
        (
            {"made": retraining(dataset=digits(0, 41))},
            r"built with another number of training examples \(40 there, 41 now\)\.",
        ),
        (
            {"made": retraining(model=lambda: torch.nn.Linear(64, 10).double())},
            r"built with another model\.",
        ),
        ({"subsets": Subsets(5, runs=2, seed=3)}, r"another count \(4 there, 5 now\)\."),
        ({"subsets": Subsets(4, runs=2, seed=3, purpose="tuning")}, "another purpose"),
        ({"queries": digits(1501, 1506)}, r"built with other queries\. Build"),
        (
            {"queries": digits(1500, 1506), "subsets": Subsets(4, runs=1, seed=4)},
            r"another runs \(2 there, 1 now\), another seed \(3 there, 4 now\) and other queries "
            r"\(5 there, 6 now\)\. Build into another folder",
        ),
        ({"keep_models": False}, "another keep_models"),
    ],
)
def test_a_bank_of_something_else_is_refused(bank, changes, says):
    known = {"made": retraining(), "subsets": SUBSETS, "queries": QUERIES, "keep_models": True}
    known.update(changes)
    with pytest.raises(BankMismatchError, match=says) as caught:
        RetrainedBank.build(
            bank.path,
            known["made"],
            known["subsets"],
            known["queries"],
            keep_models=known["keep_models"],
        )
    assert not re.search("[0-9a-f]{64}", str(caught.value))


def test_other_queries_are_measured_without_training(bank):
    more = digits(1500, 1510)
    asked = bank.asked(stopping_after(0), more)
    assert asked.queries == 10
    torch.testing.assert_close(asked.measured()[:, :, :5], bank.measured())
    with pytest.raises(BankMismatchError, match="other training data"):
        bank.asked(retraining(dataset=digits(1, 41)), more)


def test_without_weights_a_bank_is_small_and_says_so(tmp_path):
    bank = RetrainedBank.build(tmp_path, retraining(), SUBSETS, QUERIES, keep_models=False)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 8000
    with pytest.raises(BankError, match="keep_models=True"):
        bank.asked(retraining(), QUERIES)


def test_every_changed_byte_of_a_part_is_noticed(bank, tmp_path):
    for path in bank.path.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    part = tmp_path / "part-000001.safetensors"
    good = part.read_bytes()
    for place in (3, 60, len(good) // 2, len(good) - 1):
        part.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(BankCorruptError):
            RetrainedBank.open(tmp_path)
    part.write_bytes(good[:-1])
    with pytest.raises(BankCorruptError, match=f"{re.escape(str(part))} can't be read"):
        RetrainedBank.open(tmp_path)
    part.write_bytes((tmp_path / "part-000002.safetensors").read_bytes())
    with pytest.raises(BankCorruptError, match="another bank"):
        RetrainedBank.open(tmp_path)


def test_a_manifest_of_another_version_or_changed_is_refused(bank, tmp_path):
    told = json.loads((bank.path / MANIFEST).read_bytes())
    (tmp_path / MANIFEST).write_text(json.dumps({**told, "version": 2}))
    with pytest.raises(BankVersionError, match="version 2"):
        RetrainedBank.open(tmp_path)
    told["bank"]["queries"] = 6
    (tmp_path / MANIFEST).write_text(json.dumps(told))
    with pytest.raises(BankCorruptError, match="was changed"):
        RetrainedBank.open(tmp_path)
    (tmp_path / MANIFEST).write_text("[")
    with pytest.raises(BankCorruptError, match="isn't that of a bank"):
        RetrainedBank.open(tmp_path)


def test_places_that_are_no_bank_are_refused(tmp_path):
    with pytest.raises(BankNotFoundError, match=r"RetrainedBank\.build"):
        RetrainedBank.open(tmp_path)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BankWriteError, match=r"other files in it \(thesis.txt\)"):
        RetrainedBank.build(tmp_path, retraining(), SUBSETS, QUERIES)
    with pytest.raises(BankWriteError, match="can't be made a folder"):
        RetrainedBank.build(tmp_path / "thesis.txt" / "x", retraining(), SUBSETS, QUERIES)


def test_a_second_builder_is_refused(tmp_path):
    with BankFiles(tmp_path).writing(), pytest.raises(BankLockedError, match="another process"):
        RetrainedBank.build(tmp_path, retraining(), SUBSETS, QUERIES)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_leaves_nothing(tmp_path):
    files = BankFiles(tmp_path)
    (tmp_path / f"{MANIFEST}.tmp").symlink_to("/dev/full")
    with pytest.raises(BankWriteError, match="Make room"):
        files.begin({"much": "x" * 100_000})
    assert not list(tmp_path.iterdir())


def test_training_that_diverges_is_an_error(tmp_path):
    # Squared outputs, so that a large rate runs away.
    wild = RecipeRetraining(
        lambda: torch.nn.Linear(64, 10).double(),
        digits(0, 40),
        Recipe(30, 8, 1e9),
        loss_fn=lambda p, t: p.pow(4).sum(dim=1),
        at_once=2,
    )
    with pytest.raises(NonFiniteError, match="subset 0, run 0"):
        RetrainedBank.build(tmp_path, wild, SUBSETS, QUERIES)


def test_tuning_and_reporting_are_kept_apart(bank, tmp_path):
    scores = torch.rand(5, 40, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="one to report on"):
        best_on_tuning_bank({"a": scores}, bank)
    other = Subsets(4, runs=2, seed=3, purpose="tuning")
    assert not torch.equal(other.members(40), SUBSETS.members(40))
    tuning = RetrainedBank.build(tmp_path, retraining(), other, QUERIES)
    assert linear_datamodeling_score(scores, tuning).purpose == "tuning"
    best, every = best_on_tuning_bank({"a": scores, "b": -scores}, tuning)
    assert every[best] == max(every.values()) > min(every.values())
    with pytest.raises(InputError, match="no candidates"):
        best_on_tuning_bank({}, tuning)
    with pytest.raises(InputError, match="is for tuning"):
        refuse_tuning_bank(tuning)
    refuse_tuning_bank(bank)


def test_a_score_says_its_ceiling_and_interval(bank):
    scores = torch.rand(5, 40, generator=torch.Generator().manual_seed(0))
    lds = linear_datamodeling_score(scores, bank)
    assert lds.per_query.shape == (5,)
    assert lds.value == pytest.approx(float(lds.per_query.mean()))
    assert -1 <= lds.low <= lds.high <= 1
    assert f"ceiling {lds.ceiling:.3f}" in str(lds)
    assert lds.low == linear_datamodeling_score(scores, bank).low
    with pytest.raises(InputError, match="measured loss and margin"):
        linear_datamodeling_score(scores, bank, quantity="right")


def train(dataset, seed):
    torch.manual_seed(seed)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    inputs, targets = map(torch.stack, zip(*dataset, strict=True))
    for _ in range(3):
        optimizer.zero_grad()
        CROSS_ENTROPY(model(inputs), targets).mean().backward()
        optimizer.step()
    return model


def test_a_function_of_ones_own_trains_on_the_subsets(tmp_path):
    data = torch.utils.data.TensorDataset(*digits(0, 40))
    own = FunctionRetraining(mlp, data, train, loss_fn=CROSS_ENTROPY)
    bank = RetrainedBank.build(tmp_path, own, Subsets(3, runs=1), QUERIES)
    run = Subsets(3, runs=1).plan(40)[2]
    model = train(torch.utils.data.Subset(data, run.members.tolist()), run.seed)
    with torch.no_grad():
        expected = CROSS_ENTROPY(model(QUERIES[0]), QUERIES[1])
    torch.testing.assert_close(bank.measured()[0, 2], expected)
    scores = torch.rand(5, 40)
    assert linear_datamodeling_score(scores, bank).ceiling is None
    assert "ceiling unknown" in str(linear_datamodeling_score(scores, bank))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda dataset, seed: None, "returned a NoneType"),
        (lambda dataset, seed: torch.nn.Linear(2, 2), "other weights"),
        ("train", "train is a str"),
    ],
)
def test_a_function_that_trains_nothing_is_refused(function, says):
    with pytest.raises(InputError, match=says):
        trained(function)


def trained(function):
    own = FunctionRetraining(mlp, digits(0, 40), function, loss_fn=CROSS_ENTROPY)
    return own.states([own.whole(0)])


@pytest.mark.parametrize(
    "wrong", [{"count": 2}, {"fraction": 1.0}, {"runs": 0}, {"purpose": "fun"}]
)
def test_subsets_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Subsets(**wrong)
    with pytest.raises(InputError, match="subsets have to differ"):
        Subsets(fraction=0.01).members(10)
