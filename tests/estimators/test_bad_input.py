"""Each thing that can't be answered is an error that says what came and what to do."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, RandomSampler, TensorDataset

from headwater import TracInCP
from headwater.errors import (
    BatchError,
    CaptureError,
    CheckpointMismatchError,
    InputError,
    LearningRateError,
    LossError,
    ModelError,
    NoCheckpointsError,
    NonFiniteError,
    SelectionError,
    ShuffledLoaderError,
    UnsafeCheckpointError,
)

from .small import (
    QUERIES,
    TRAINING,
    N,
    Small,
    cross_entropy,
    dataset,
    labels,
    make,
    model,
    rows,
    states,
)
from .untouched import Untouched, prefixed

CALLS = {
    "self-influence": lambda estimator: estimator.influence(),
    "scores": lambda estimator: estimator.influence(*QUERIES),
    "top-k": lambda estimator: estimator.influence(*QUERIES, k=2),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def run(call=CALLS["scores"], **options):
    """Constructor and call: an error may come from either."""
    return call(make(**options))


# Checkpoints


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(NoCheckpointsError, match="absent"):
        run(checkpoints=tmp_path / "absent", learning_rates=None)


def test_a_folder_without_a_checkpoint(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoCheckpointsError, match="empty"):
        run(checkpoints=str(tmp_path / "empty"), learning_rates=None)


def test_a_folder_in_which_nothing_is_a_checkpoint_says_what_it_skipped(tmp_path):
    (tmp_path / "notes.txt").write_text("not a checkpoint")
    with pytest.raises(NoCheckpointsError, match=r"notes\.txt"):
        run(checkpoints=tmp_path, learning_rates=None)


@pytest.mark.parametrize("checkpoints", [[], (), iter([])], ids=["list", "tuple", "iterator"])
def test_no_checkpoints_at_all(checkpoints):
    with pytest.raises(NoCheckpointsError):
        run(checkpoints=checkpoints, learning_rates=None)


def test_a_missing_checkpoint_is_a_file_not_found_too(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.pt"):
        run(checkpoints=[tmp_path / "gone.pt"], learning_rates=[0.3])


def test_a_checkpoint_of_another_architecture_names_the_first_key_that_differs():
    other = [{n: v for n, v in s.items() if not n.startswith("fc10")} for s in states()]
    with pytest.raises(CheckpointMismatchError, match=r"fc10\.weight"):
        run(checkpoints=other)


def test_a_checkpoint_with_a_key_too_many_names_it():
    other = [{**s, "extra.weight": torch.zeros(2)} for s in states()]
    with pytest.raises(CheckpointMismatchError, match=r"extra\.weight"):
        run(checkpoints=other)


def test_a_checkpoint_with_another_shape_names_the_key_and_both_shapes():
    other = [{**s, "fc.weight": torch.zeros(9, 4)} for s in states()]
    with pytest.raises(CheckpointMismatchError, match=r"fc\.weight") as caught:
        run(checkpoints=other)
    assert "9, 4" in str(caught.value)
    assert "3, 4" in str(caught.value)


def test_the_checkpoint_of_another_architecture_is_named_and_a_value_error(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt"):
        run(checkpoints=[tmp_path / "other.pt"], learning_rates=[0.3])


class RunsOnLoading:
    executed: list[int] = []  # noqa: RUF012

    def __reduce__(self):
        return (RunsOnLoading.executed.append, (1,))


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path):
    torch.save({"state_dict": states()[0], "extra": RunsOnLoading()}, tmp_path / "pickle.pt")
    with pytest.raises(UnsafeCheckpointError, match=r"pickle\.pt"):
        run(checkpoints=[tmp_path / "pickle.pt"], learning_rates=[0.3])
    assert RunsOnLoading.executed == []


@pytest.mark.parametrize("rates", [[0.3], [0.3, 0.07, 0.1], []], ids=str)
def test_as_many_rates_as_checkpoints_are_needed(rates):
    with pytest.raises(LearningRateError, match="2"):
        run(learning_rates=rates)


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf")])
def test_a_rate_is_a_finite_number_of_at_least_zero(rate):
    with pytest.raises(LearningRateError, match=str(rate)):
        run(learning_rates=[0.3, rate])


# Selection


@pytest.mark.parametrize(
    ("asked", "near"),
    [("fc2", "fc1"), ("fc.wieght", "fc.weight"), ("bdy.1", "body.1"), ("FC10", "fc10")],
)
def test_an_unknown_layer_lists_near_matches(asked, near):
    with pytest.raises(SelectionError) as caught:
        run(layers=["fc", asked])
    assert asked in str(caught.value)
    assert near in str(caught.value).replace(asked, "")


def test_an_unknown_layer_is_found_before_any_work():
    module = Untouched(model())
    with pytest.raises(SelectionError):
        run(model=module, checkpoints=prefixed(), layers=["module.nothing"])
    assert module.calls == 0


def test_a_selection_without_parameters_is_an_error():
    with pytest.raises(SelectionError, match=r"body\.0"):
        run(layers=["body.0"])
    with pytest.raises(SelectionError):
        run(layers=[])


def test_a_model_that_is_frozen_altogether_needs_names():
    with pytest.raises(SelectionError, match=r"requires.grad"):
        run(model=model().requires_grad_(False))


# Data


def shuffling_loaders():
    data = dataset()
    return {
        "shuffle": DataLoader(data, batch_size=3, shuffle=True),
        "sampler": DataLoader(data, batch_size=3, sampler=RandomSampler(data)),
        "batch sampler": DataLoader(
            data,
            batch_sampler=torch.utils.data.BatchSampler(RandomSampler(data), 3, drop_last=False),
        ),
    }


@pytest.mark.parametrize("loader", shuffling_loaders().values(), ids=shuffling_loaders())
def test_a_loader_that_shuffles_is_refused(loader):
    with pytest.raises(ShuffledLoaderError, match="shuffle=False"):
        run(influence_src_dataset=loader)


class Dicts(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, n):
        return {"x": TRAINING[0][n], "label": TRAINING[1][n]}


@every_call
def test_a_batch_that_is_a_dict_needs_a_task(call):
    with pytest.raises(BatchError, match="dict") as caught:
        run(call, influence_src_dataset=Dicts())
    assert "task" in str(caught.value)


@every_call
def test_a_batch_that_is_a_bare_tensor_is_refused(call):
    with pytest.raises(BatchError, match=r"(?i)tensor"):
        run(call, influence_src_dataset=DataLoader(TRAINING[0], batch_size=3))


@pytest.mark.parametrize("k", [-1, -7])
def test_a_negative_k_is_refused(k):
    with pytest.raises(InputError, match=rf"k.*{k}"):
        make().influence(*QUERIES, k=k)


@pytest.mark.parametrize("k", [2.5, 2.0, "2", True, [2]], ids=repr)
def test_a_k_that_is_no_whole_number_is_refused(k):
    with pytest.raises(InputError, match="k"):
        make().influence(*QUERIES, k=k)


def test_a_k_without_inputs_is_refused_or_ignored_but_gives_no_top_k():
    try:
        self_influence = make().influence(k=2)
    except InputError:
        return
    assert self_influence.shape == (N,)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "many"])
def test_a_batch_size_that_means_nothing_is_refused(batch_size):
    with pytest.raises(InputError, match="batch_size"):
        make(batch_size=batch_size)


def test_targets_of_another_length_than_the_inputs_are_refused():
    with pytest.raises(ValueError):
        make().influence(QUERIES[0], labels(len(QUERIES[0]) + 1, 0))


def test_an_unknown_option_is_an_error():
    with pytest.raises(TypeError, match="learning_rate_list"):
        make(learning_rate_list=[0.3])


# Numbers and models


@every_call
@pytest.mark.parametrize("batch_size", [1, 3, N])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_names_example_and_layer(call, batch_size, bad):
    x = TRAINING[0].clone()
    x[4, 2] = bad
    estimator = make(influence_src_dataset=TensorDataset(x, TRAINING[1]), batch_size=batch_size)
    with pytest.raises(NonFiniteError, match=r"example 4\b") as caught:
        call(estimator)
    assert "fc" in str(caught.value)


class OnlyOneLayer(nn.Module):
    """For one example sqrt is taken at 0, and only what stands before it sees the slope there."""

    def __init__(self):
        super().__init__()
        self.early = nn.Linear(5, 4)
        self.late = nn.Linear(4, 3)

    def forward(self, x):
        h = self.early(x)
        ordinary = (x[:, :1] != 99.0).to(x.dtype)
        return self.late(torch.tanh(h) + ((h - h).abs() + ordinary).sqrt())


@every_call
@pytest.mark.parametrize("layers", [None, ["early"]])
def test_the_layer_that_is_named_is_the_one_that_is_not_finite(call, layers):
    x = TRAINING[0].clone()
    x[4, 0] = 99.0
    estimator = make(
        model=model(kind=OnlyOneLayer),
        influence_src_dataset=TensorDataset(x, TRAINING[1]),
        checkpoints=states(OnlyOneLayer),
        layers=layers,
    )
    with pytest.raises(NonFiniteError, match=r"example 4\b.*early"):
        call(estimator)


@pytest.mark.parametrize("k", [None, 2])
def test_a_gradient_of_a_query_that_is_not_finite_names_the_query_and_the_layer(k):
    x = QUERIES[0].clone()
    x[1, 2] = float("nan")
    with pytest.raises(NonFiniteError, match=r"(query|example) 1\b") as caught:
        make().influence(x, QUERIES[1], k=k)
    assert "query" in str(caught.value)
    assert "fc" in str(caught.value)


class ForcesTraining(Small):
    def forward(self, x):
        self.train()
        return super().forward(x)


class ForcesTrainingOfOnePart(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(5, 4)
        self.norm = nn.BatchNorm1d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        self.norm.train()
        return self.fc(self.norm(self.fc1(x)))


class RefusesEval(Small):
    """`eval()` has no effect."""

    def train(self, mode=True):
        return super().train(True)


@every_call
@pytest.mark.parametrize("kind", [ForcesTraining, ForcesTrainingOfOnePart, RefusesEval])
def test_a_model_that_forces_train_mode_is_refused(call, kind):
    with pytest.raises(ModelError, match="train"):
        run(call, model=model(kind=kind), checkpoints=states(kind))


def test_a_model_that_is_no_module_is_refused():
    with pytest.raises((InputError, ModelError, TypeError)):
        TracInCP(lambda x: x, dataset(), states(), loss_fn=cross_entropy, batch_size=3)


class CoupledInputs(Small):
    def forward(self, x):
        return super().forward(x - x.mean(0))


class CoupledInside(Small):
    def forward(self, x):
        h = torch.tanh(self.fc1(x))
        return self.fc(torch.tanh(self.body(self.fc10(h - h.mean(0)))))


@every_call
@pytest.mark.parametrize("kind", [CoupledInputs, CoupledInside])
def test_a_model_that_mixes_the_examples_of_a_batch_is_refused(call, kind):
    """What it says of an example depends on its neighbours, so scores would on the batch size."""
    with pytest.raises((ModelError, CaptureError, LossError)):
        run(call, model=model(kind=kind), checkpoints=states(kind))


def test_inputs_that_the_model_refuses_raise_the_models_own_error():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        make().influence(rows(2, 0, 6), QUERIES[1])
