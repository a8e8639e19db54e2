"""The three orders of the loops give the same numbers, and each is taken where it should be."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from headwater import InputError, NoCheckpointsError
from headwater.engine import loops, work_plan
from tests.estimators.small import (
    QUERIES,
    RATES,
    N,
    Q,
    Stream,
    assert_close,
    dataset,
    expected_scores,
    expected_self_influence,
    make,
    model,
    states,
)
from tests.oracles import tracin

# Where all checkpoints fit; where none does; where not even two batches' scores fit.
BUDGETS = {"resident": "1GB", "checkpoints outermost": 2400, "spans": 200}


@pytest.fixture
def orders(monkeypatch):
    """The orders that were taken, noted as they begin."""
    taken = []
    for name in ("_resident", "_by_checkpoint"):
        method = getattr(loops.Loops, name)

        def noted(self, *args, _method=method, _name=name, **kwargs):
            taken.append(_name)
            return _method(self, *args, **kwargs)

        monkeypatch.setattr(loops.Loops, name, noted)
    return taken


@pytest.mark.parametrize("batch_size", [1, 3, N])
@pytest.mark.parametrize("order", BUDGETS)
def test_every_order_of_the_loops_equals_the_oracle(order, batch_size, orders):
    estimator = make(memory_budget=BUDGETS[order], batch_size=batch_size)
    expected = expected_scores()
    assert_close(estimator.influence(*QUERIES), expected)
    assert_close(estimator.influence(), expected_self_influence())
    for proponents in (True, False):
        top = estimator.influence(*QUERIES, k=2, proponents=proponents)
        indices, scores = tracin.top_k(expected, 2, proponents)
        assert torch.equal(top.indices, indices)
        assert_close(top.influence_scores, scores)
    assert set(orders) == {"_resident" if order == "resident" else "_by_checkpoint"}


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
def test_a_stream_is_read_in_every_order(budget):
    estimator = make(influence_src_dataset=Stream(), memory_budget=budget)
    assert_close(estimator.influence(*QUERIES), expected_scores())
    top = estimator.influence(*QUERIES, k=3)
    assert torch.equal(top.indices, tracin.top_k(expected_scores(), 3)[0])


def test_spans_load_checkpoints_again_but_never_more_often_than_there_are_spans():
    loads = []

    def load(model, state):
        loads.append(state)
        model.load_state_dict(state)
        return 0.1

    given = states()
    estimator = make(checkpoints=given, checkpoints_load_func=load, memory_budget=200, batch_size=3)
    estimator.influence(*QUERIES, k=2)
    batches = -(-N // 3)
    assert len(given) < len(loads) <= len(given) * batches


def test_checkpoints_of_a_generator_serve_one_call():
    made = []

    def generate():
        for state in states():
            made.append(1)
            yield state

    estimator = make(checkpoints=generate())
    assert_close(estimator.influence(*QUERIES), expected_scores())
    assert len(made) == 2
    with pytest.raises(NoCheckpointsError, match=r"can be read only once; pass a list"):
        estimator.influence(*QUERIES)


def test_a_generator_whose_scores_need_several_passes_is_refused_with_the_remedy():
    estimator = make(checkpoints=iter(states()), memory_budget=200)
    with pytest.raises(InputError, match="pass a list, or raise memory_budget"):
        estimator.influence(*QUERIES, k=2)


class Changing(torch.utils.data.IterableDataset):
    """Loses its last example after the first pass."""

    def __init__(self):
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        rows = list(zip(*dataset().tensors, strict=True))
        return iter(rows if self.passes == 1 else rows[:-1])


@pytest.mark.parametrize("batch_size", [1, 4])
def test_data_that_change_between_passes_are_noticed(batch_size):
    loader = DataLoader(Changing(), batch_size=batch_size)
    estimator = make(influence_src_dataset=loader, memory_budget=2400)
    with pytest.raises(InputError, match=r"the training data changed between passes.*example \d"):
        estimator.influence(*QUERIES)


def test_rates_are_as_given_in_every_order():
    for budget in BUDGETS.values():
        swapped = make(memory_budget=budget, learning_rates=RATES[::-1])
        assert_close(swapped.influence(*QUERIES), expected_scores(rates=RATES[::-1]))


def plan_of(estimator, queries=QUERIES):
    question = estimator._question(*queries)
    return estimator._streamed.plan(question)


@pytest.mark.parametrize(
    ("budget", "rows_at_once", "groups", "resident"),
    [("1GB", Q, 1, True), (2400, Q, 1, False), (1500, 1, 1, False), (700, 1, 2, False)],
)
def test_rows_are_divided_first_and_layers_where_not_one_row_fits(
    budget, rows_at_once, groups, resident
):
    plan = plan_of(make(memory_budget=budget))
    assert (plan.rows_at_once, len(plan.groups), plan.resident) == (rows_at_once, groups, resident)
    assert plan.passes == -(-Q // rows_at_once) * groups
    assert plan.batch_size == 3
    assert plan.held <= plan.budget


@pytest.mark.parametrize("budget", [700, 300, 1])
def test_scores_are_sums_over_groups_of_layers(budget):
    estimator = make(memory_budget=budget)
    assert len(plan_of(estimator).groups) > 1
    expected = expected_scores()
    assert_close(estimator.influence(*QUERIES), expected)
    top = estimator.influence(*QUERIES, k=3, proponents=False)
    assert torch.equal(top.indices, tracin.top_k(expected, 3, proponents=False)[0])
    summed = estimator.attribute(*QUERIES).over_queries().tensor()
    assert_close(summed, expected.sum(dim=0, keepdim=True))
    assert_close(estimator.influence(), expected_self_influence())


def test_each_output_alone_is_as_far_as_a_layer_is_divided():
    """At the least: of each layer, what goes into it, and the gradient at one of its outputs."""
    plan = plan_of(make(memory_budget=1))
    weights = [p for name, p in model().named_parameters() if name.endswith("weight")]
    assert len(plan.groups) == sum(len(weight) for weight in weights) == 17
    assert all(len(group) == 1 for group in plan.groups)
    assert plan.divided == len(weights) == 4
    assert plan.held == 2 * 8 * max(weight.shape[1] + 1 for weight in weights)


def test_a_layer_that_fits_is_whole_beside_one_that_does_not():
    plan = plan_of(make(memory_budget=300))
    assert plan.held <= 150
    assert 0 < plan.divided < 4
    whole = [block for group in plan.groups for block, part in group.items() if part is None]
    assert len(whole) == 4 - plan.divided


@pytest.mark.parametrize("in_memory", [True, False])
def test_data_that_costs_nothing_to_read_is_read_again_where_that_spares_memory(
    in_memory, orders, monkeypatch
):
    monkeypatch.setattr(work_plan, "_LITTLE", 0)
    data = dataset()
    rows = data if in_memory else list(zip(*data.tensors, strict=True))
    estimator = make(influence_src_dataset=rows)
    # What is accumulated for a query is less than what is spared.
    assert_close(estimator.influence(*QUERIES), expected_scores())
    assert orders == ["_by_checkpoint" if in_memory else "_resident"]
    assert plan_of(estimator).resident is not in_memory


def test_data_in_memory_is_read_once_where_more_would_accumulate_than_is_spared(monkeypatch):
    monkeypatch.setattr(work_plan, "_LITTLE", 0)
    inputs, targets = dataset().tensors
    many = TensorDataset(inputs.repeat(10_000, 1), targets.repeat(10_000))
    assert plan_of(make(influence_src_dataset=many)).resident


def test_data_in_memory_is_read_once_where_little_is_held(orders):
    assert_close(make().influence(*QUERIES), expected_scores())
    assert orders == ["_resident"]


def test_a_budget_that_takes_many_passes_is_told_with_one_that_takes_a_single_one(caplog):
    small = make(memory_budget=120)
    plan = plan_of(small)
    assert_close(small.influence(*QUERIES), expected_scores())
    (told,) = [record.getMessage() for record in caplog.records if "gone over" in record.msg]
    assert "a memory_budget of 120 bytes" in told
    assert f"gone over {plan.passes} times" in told
    assert f"from {plan.enough:,} bytes on" in told
    caplog.clear()
    enough = make(memory_budget=plan.enough)
    assert plan_of(enough).passes == 1
    assert_close(enough.influence(*QUERIES), expected_scores())
    assert not caplog.records
