"""Which parameters count, in which order equal scores come, and where checkpoints come from."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from headwater import HeadwaterWarning
from tests.oracles import tracin

from .small import (
    QUERIES,
    RATES,
    TRAINING,
    assert_close,
    expected_scores,
    expected_self_influence,
    loss_of_one,
    make,
    model,
    singles,
    states,
)

FC = ["fc.weight", "fc.bias"]
FC1 = ["fc1.weight", "fc1.bias"]
FC10 = ["fc10.weight", "fc10.bias"]
BODY = ["body.1.weight", "body.1.bias"]


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (["fc"], FC),
        (["fc1"], FC1),
        (["fc10"], FC10),
        (["body"], BODY),
        (["body.1"], BODY),
        (["fc", "fc1"], FC + FC1),
        (["fc.weight"], ["fc.weight"]),
        (["fc.bias", "fc10"], ["fc.bias", *FC10]),
        (["fc", "fc.weight", "fc"], FC),
        (["body.1", "body", "body.1.bias"], BODY),
        (["fc", "fc1", "fc10", "body"], None),
        (None, None),
    ],
    ids=str,
)
def test_layers_are_matched_by_their_exact_names_and_overlaps_count_once(layers, names):
    estimator = make(layers=layers)
    assert_close(estimator.influence(*QUERIES), expected_scores(names))
    assert_close(estimator.influence(), expected_self_influence(names))


def frozen(*names):
    module = model()
    for name, p in module.named_parameters():
        p.requires_grad_(name not in names)
    return module


def test_a_frozen_parameter_counts_only_if_it_is_named():
    module = frozen(*FC1, "fc.weight")
    assert_close(make(model=module).influence(*QUERIES), expected_scores([*FC10, *BODY, "fc.bias"]))
    assert_close(make(model=module, layers=["fc1"]).influence(*QUERIES), expected_scores(FC1))
    assert_close(make(model=module, layers=["fc"]).influence(*QUERIES), expected_scores(FC))
    assert_close(
        make(model=module, layers=["fc.weight"]).influence(*QUERIES),
        expected_scores(["fc.weight"]),
    )
    assert not module.fc1.weight.requires_grad
    assert not module.fc.weight.requires_grad
    assert module.fc.bias.requires_grad


def test_a_model_that_is_frozen_altogether_can_be_attributed_by_name():
    module = model().requires_grad_(False)
    assert_close(make(model=module, layers=["fc10"]).influence(*QUERIES), expected_scores(FC10))


class TiedNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(5, 4)
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(torch.tanh(self.second(torch.tanh(self.first(self.enter(x))))))


@pytest.mark.parametrize("layers", [["second"], ["second.weight"], ["first.weight", "second"]])
def test_a_shared_parameter_is_selected_by_any_of_its_names_and_counts_once(layers):
    module = model(kind=TiedNet)
    expected = tracin.influence_scores(
        model(kind=TiedNet),
        list(zip(states(TiedNet), RATES, strict=True)),
        loss_of_one,
        singles(*TRAINING),
        singles(*QUERIES),
        ["first.weight"],
    )
    estimator = make(model=module, checkpoints=states(TiedNet), layers=layers)
    assert_close(estimator.influence(*QUERIES), expected)


class Whole(nn.Module):
    """Whole numbers and rates that are powers of two: each score is exact, so ties are ties."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 3)

    def forward(self, x):
        return self.fc(x)


def whole_numbers(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, shape, generator=generator).double()


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 30, "auto"])
@pytest.mark.parametrize("proponents", [True, False], ids=["proponents", "opponents"])
@pytest.mark.parametrize("k", [1, 4, 9, 29, 30])
def test_ties_go_to_the_lower_index_whatever_the_batch_size(batch_size, proponents, k):
    x, y = whole_numbers(0, 10, 2).repeat(3, 1), whole_numbers(1, 10, 3).repeat(3, 1)
    queries = whole_numbers(2, 4, 2), whole_numbers(3, 4, 3)
    checkpoints = [
        {"fc.weight": whole_numbers(4 + c, 3, 2), "fc.bias": whole_numbers(6 + c, 3)}
        for c in range(2)
    ]

    def losses(predictions, targets):
        return (predictions - targets).square().sum(1)

    def rows(x, y):
        return [(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]

    expected = tracin.influence_scores(
        Whole().double(),
        list(zip(checkpoints, [0.5, 0.25], strict=True)),
        lambda m, e: losses(m(e[0]), e[1]).squeeze(0),
        rows(x, y),
        rows(*queries),
        ["fc.weight", "fc.bias"],
    )
    estimator = make(
        model=Whole().double(),
        influence_src_dataset=TensorDataset(x, y),
        checkpoints=checkpoints,
        learning_rates=[0.5, 0.25],
        loss_fn=losses,
        batch_size=batch_size,
    )
    top = estimator.influence(*queries, k=k, proponents=proponents)
    indices, scores = tracin.top_k(expected, k, proponents)
    assert torch.equal(top.indices, indices)
    assert torch.equal(top.influence_scores, scores)


def saved(folder, rates=(0.3, 0.07)):
    paths = []
    for step, state, rate in zip((2, 10), states(), rates, strict=True):
        paths.append(folder / f"ckpt-{step}.pt")
        torch.save({"model_state_dict": state, "learning_rate": rate}, paths[-1])
    return paths


def test_checkpoints_and_their_rates_may_come_from_many_places(tmp_path):
    paths = saved(tmp_path)
    pairs = list(zip(states(), RATES, strict=True))
    expected = expected_scores()
    for checkpoints in (tmp_path, str(tmp_path), paths, [str(p) for p in paths], pairs):
        estimator = make(checkpoints=checkpoints, learning_rates=None)
        assert_close(estimator.influence(*QUERIES), expected)
    lazy = make(checkpoints=(pair for pair in pairs), learning_rates=None)
    assert_close(lazy.influence(*QUERIES), expected)


def test_a_folder_is_read_in_natural_order_and_a_list_in_the_users(tmp_path):
    paths = saved(tmp_path, rates=(5.0, 5.0))
    expected = expected_scores()
    in_order = make(checkpoints=tmp_path, learning_rates=[0.3, 0.07])
    assert_close(in_order.influence(*QUERIES), expected)
    reversed_list = make(checkpoints=paths[::-1], learning_rates=[0.07, 0.3])
    assert_close(reversed_list.influence(*QUERIES), expected)


def test_a_missing_rate_is_one_with_one_warning_that_names_the_file(tmp_path):
    state = states()[0]
    torch.save(state, tmp_path / "ckpt-1.pt")

    def twice():
        estimator = make(checkpoints=[tmp_path / "ckpt-1.pt"], learning_rates=None)
        estimator.influence(*QUERIES)
        return estimator.influence(*QUERIES)

    with pytest.warns(HeadwaterWarning, match=r"ckpt-1\.pt") as caught:
        scores = twice()
    assert len([w for w in caught if "ckpt-1.pt" in str(w.message)]) == 1
    assert "learning_rates" in str(caught[0].message)
    assert_close(scores, expected_scores(rates=[1.0, 0.0]))


def test_a_checkpoint_of_rate_zero_adds_nothing():
    scores = make(learning_rates=[0.3, 0.0]).influence(*QUERIES)
    assert_close(scores, expected_scores(rates=[0.3, 0.0]))
