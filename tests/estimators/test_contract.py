"""Names, arguments, shapes and kinds: what a user may rely on."""

import inspect

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import headwater
from headwater import DataInfluence, KMostInfluentialResults, TracInCP, TracInCPBase
from tests.oracles import tracin

from .small import (
    QUERIES,
    RATES,
    TRAINING,
    N,
    Q,
    Stream,
    assert_close,
    cross_entropy,
    dataset,
    expected_scores,
    expected_self_influence,
    make,
    model,
    states,
)


def test_public_names_stand_at_the_top_of_the_package():
    names = ["DataInfluence", "TracInCPBase", "TracInCP", "KMostInfluentialResults", "Task"]
    errors = [n for n, v in vars(headwater.errors).items() if isinstance(v, type)]
    for name in names + errors:
        assert hasattr(headwater, name), name
    assert issubclass(TracInCP, TracInCPBase)
    assert issubclass(TracInCPBase, DataInfluence)


def positional(function) -> list[str]:
    parameters = list(inspect.signature(function).parameters.values())
    assert not any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)
    return [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]


def test_the_arguments_of_the_constructors_have_their_names_and_order():
    assert positional(TracInCP) == [
        "model",
        "influence_src_dataset",
        "checkpoints",
        "checkpoints_load_func",
        "layers",
        "loss_fn",
        "batch_size",
        "sample_wise_grads_per_batch",
    ]
    assert positional(TracInCPBase) == [
        "model",
        "influence_src_dataset",
        "checkpoints",
        "checkpoints_load_func",
        "loss_fn",
        "batch_size",
    ]


def test_the_constructors_have_the_defaults_of_the_contract():
    parameters = inspect.signature(TracInCP).parameters
    assert parameters["layers"].default is None
    assert parameters["loss_fn"].default is None
    assert parameters["batch_size"].default == "auto"
    assert parameters["sample_wise_grads_per_batch"].default is False
    assert callable(parameters["checkpoints_load_func"].default)
    assert parameters["learning_rates"].kind is inspect.Parameter.KEYWORD_ONLY
    assert parameters["task"].kind is inspect.Parameter.KEYWORD_ONLY


def test_influence_has_the_arguments_of_the_contract():
    parameters = list(inspect.signature(TracInCP.influence).parameters.values())[1:]
    found = {p.name: p.default for p in parameters[:6]}
    assert list(found.items()) == [
        ("inputs", None),
        ("targets", None),
        ("k", None),
        ("proponents", True),
        ("unpack_inputs", True),
        ("show_progress", False),
    ]


def test_positional_arguments_of_the_constructor_work():
    def load(module, checkpoint):
        module.load_state_dict(checkpoint)
        return 0.5

    tracin_cp = TracInCP(
        model(), dataset(), states(), load, ["fc"], cross_entropy, 3, False, learning_rates=RATES
    )
    names = ["fc.weight", "fc.bias"]
    assert_close(tracin_cp.influence(*QUERIES), expected_scores(names))


def test_self_influence_has_one_number_for_each_training_example():
    self_influence = make().influence()
    assert type(self_influence) is torch.Tensor
    assert self_influence.shape == (N,)
    assert not self_influence.requires_grad
    assert_close(self_influence, expected_self_influence())


def test_scores_have_a_row_for_each_query():
    scores = make().influence(*QUERIES)
    assert type(scores) is torch.Tensor
    assert scores.shape == (Q, N)
    assert not scores.requires_grad
    assert_close(scores, expected_scores())


@pytest.mark.parametrize(("proponents", "name"), [(True, "proponents"), (False, "opponents")])
def test_top_k_is_a_named_tuple_with_the_best_first(proponents, name):
    results = make().influence(*QUERIES, k=3, proponents=proponents)
    assert isinstance(results, KMostInfluentialResults)
    assert isinstance(results, tuple)
    assert results._fields == ("indices", "influence_scores")
    indices, scores = results
    assert indices is results.indices
    assert scores is results.influence_scores
    assert indices.dtype == torch.int64
    assert indices.shape == scores.shape == (Q, 3)
    expected = tracin.top_k(expected_scores(), 3, proponents)
    assert torch.equal(indices, expected[0])
    assert_close(scores, expected[1])


def test_get_name_is_the_name_of_the_class():
    Renamed = type("Renamed", (TracInCP,), {})
    assert make().get_name() == "TracInCP"
    assert make(Renamed).get_name() == "Renamed"


def test_a_loader_keeps_its_own_batch_size():
    sizes = []

    def collate(batch):
        sizes.append(len(batch))
        return torch.utils.data.default_collate(batch)

    loader = DataLoader(dataset(), batch_size=2, collate_fn=collate)
    assert_close(make(influence_src_dataset=loader).influence(*QUERIES), expected_scores())
    assert max(sizes) == 2


def test_a_list_of_rows_is_a_dataset():
    data = list(zip(*TRAINING, strict=True))
    assert_close(make(influence_src_dataset=data).influence(*QUERIES), expected_scores())


@pytest.mark.parametrize("source", [Stream(), DataLoader(Stream(), batch_size=2)])
@pytest.mark.parametrize("show_progress", [True, False])
def test_a_stream_without_length_is_a_dataset_too(source, show_progress):
    estimator = make(influence_src_dataset=source)
    scores = estimator.influence(*QUERIES, show_progress=show_progress)
    assert_close(scores, expected_scores())
    assert_close(estimator.influence(show_progress=show_progress), expected_self_influence())
    top = estimator.influence(*QUERIES, k=2, show_progress=show_progress)
    assert torch.equal(top.indices, tracin.top_k(expected_scores(), 2)[0])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 50, "auto"])
def test_scores_do_not_depend_on_batch_size(batch_size):
    estimator = make(batch_size=batch_size)
    assert_close(estimator.influence(*QUERIES), expected_scores())
    assert_close(estimator.influence(), expected_self_influence())


CALLS = {
    "self-influence": lambda estimator, **o: estimator.influence(**o),
    "scores": lambda estimator, **o: estimator.influence(*QUERIES, **o),
    "top-k": lambda estimator, **o: estimator.influence(*QUERIES, k=2, **o),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_progress_is_a_bar_on_stderr_with_the_name_of_the_estimator(call, capsys):
    call(make(), show_progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "TracInCP" in captured.err
    assert "100%" in captured.err, "the total of a sized loader is known"


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_nothing_is_printed_without_progress(call, capsys):
    call(make())
    assert capsys.readouterr() == ("", "")


def test_a_subclass_may_override_the_protected_hooks():
    class Mine(TracInCP):
        def _self_influence(self, *args, **kwargs):
            return "self-influence"

        def _get_k_most_influential(self, *args, **kwargs):
            return "top-k"

        def _influence(self, *args, **kwargs):
            return "scores"

    estimator = make(Mine)
    for name, call in CALLS.items():
        assert call(estimator) == name


def test_a_subclass_may_extend_the_protected_hooks():
    called = []

    class Mine(TracInCP):
        def _self_influence(self, *args, **kwargs):
            called.append("self-influence")
            return 2 * super()._self_influence(*args, **kwargs)

        def _influence(self, *args, **kwargs):
            called.append("scores")
            return 2 * super()._influence(*args, **kwargs)

    estimator = make(Mine)
    assert_close(estimator.influence(), 2 * expected_self_influence())
    assert_close(estimator.influence(*QUERIES), 2 * expected_scores())
    assert called == ["self-influence", "scores"]


def test_a_data_set_without_examples_has_no_scores():
    nothing = TensorDataset(TRAINING[0][:0], TRAINING[1][:0])
    estimator = make(influence_src_dataset=nothing)
    assert estimator.influence().shape == (0,)
    assert estimator.influence(*QUERIES).shape == (Q, 0)
    assert estimator.influence(*QUERIES, k=2).indices.shape == (Q, 0)
