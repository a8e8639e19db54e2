"""Where Captum 0.9.0 isn't right, or refuses: its number pinned, and ours held against autograd.

docs/captum.md lists these; what is pinned here and no longer true of Captum fails here first.
"""

from importlib.util import find_spec

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from headwater.compat import captum as ours
from headwater.errors import (
    CaptumLossError,
    HeadwaterWarning,
    InputError,
    NonFiniteError,
    ShuffledLoaderError,
)

from .nets import (
    CLASSES,
    RATES,
    Case,
    Circular,
    Cnn,
    Dropping,
    Lines,
    Mlp,
    N,
    Normed,
    Partly,
    PooledWords,
    Q,
    Searched,
    Squashed,
    Tied,
    WithoutBias,
    Words,
    assert_close,
    assert_far,
    first_logit,
    first_logit_of_one,
    load,
    net,
    states,
)
from .warned import CAPTUM_WARNS

captum = pytest.importorskip("captum.influence")

pytestmark = CAPTUM_WARNS
CE = nn.CrossEntropyLoss
BATCHED = {"loss_fn": CE(reduction="sum"), "sample_wise_grads_per_batch": True}


def summed_logit(outputs, labels):
    return first_logit(outputs, labels).sum()


summed_logit.reduction = "sum"


# The final layer


def test_captum_leaves_out_the_final_layers_bias():
    case = Case(Mlp)
    weight, layer = case.oracle(["2.weight"]), case.oracle(["2.weight", "2.bias"])
    assert_far(weight, layer)
    assert_close(case.fast(captum).influence(case.queries), weight)
    assert_close(case.fast(ours).influence(case.queries), layer)
    assert_close(case.fast(captum).self_influence(), case.oracle_of_self(["2.weight"]))
    assert_close(case.fast(ours).self_influence(), case.oracle_of_self(["2.weight", "2.bias"]))
    assert_close(case.rand_proj(captum).influence(case.queries, None), weight)
    assert_close(case.rand_proj(ours).influence(case.queries, None), layer)


def test_captum_differentiates_by_the_models_output_and_not_the_final_layers():
    case = Case(Squashed)
    layer = case.oracle(["head.weight"])
    assert_far(case.fast(captum).influence(case.queries), layer)
    assert_close(case.fast(ours).influence(case.queries), layer)
    assert_close(case.rand_proj(ours).influence(case.queries, None), layer)


def test_captum_multiplies_inputs_of_all_tokens_by_the_gradient_of_their_mean():
    case = Case(PooledWords)
    layer = case.oracle(["head.weight"])
    assert_far(case.fast(captum).influence(case.queries), layer)
    assert_close(case.fast(ours).influence(case.queries), layer)


def test_captums_fast_takes_no_loader_of_queries():
    case = Case(WithoutBias)
    queries = DataLoader(TensorDataset(*case.queries), batch_size=1)
    with pytest.raises(TypeError):
        case.fast(captum).influence(queries)
    assert_close(case.fast(ours).influence(queries), case.oracle(["2.weight"]))


# Vectors


def test_captums_intermediate_quantities_square_the_rate():
    case = Case(Mlp)

    def products(library):
        tracin = case.tracin(library)
        queries, training = (
            tracin.compute_intermediate_quantities(inputs)
            for inputs in (case.queries, DataLoader(case.training, batch_size=3))
        )
        return queries @ training.T

    assert_far(products(captum), case.oracle())
    assert_close(products(captum), case.oracle(rates=[rate**2 for rate in RATES]))
    assert_close(products(ours), case.oracle())


def test_intermediate_quantities_of_queries_take_their_own_loss():
    case = Case(Mlp)
    expected = case.oracle(query_loss=first_logit_of_one)
    tracin = case.tracin(ours, test_loss_fn=first_logit)
    training = tracin.compute_intermediate_quantities(case.training.tensors)
    queries = tracin.compute_intermediate_quantities(case.queries, test=True)
    assert_close(queries @ training.T, expected)
    assert_close(tracin.influence(case.queries), expected)
    case = Case(WithoutBias)
    proj = case.rand_proj(ours, test_loss_fn=summed_logit)
    queries = proj.compute_intermediate_quantities(case.queries, test=True)
    training = proj.compute_intermediate_quantities(case.training.tensors)
    assert_close(queries @ training.T, proj.influence(case.queries, None))


def test_captums_rand_proj_applies_the_queries_loss_to_training_examples():
    case = Case(WithoutBias)
    names = ["2.weight"]
    theirs, mine = (
        case.rand_proj(library, test_loss_fn=summed_logit).influence(case.queries, None)
        for library in (captum, ours)
    )
    expected = case.oracle(names, query_loss=first_logit_of_one)
    assert_far(theirs, expected)
    assert_close(theirs, case.oracle(names, loss=first_logit_of_one))
    assert_close(mine, expected)


def test_projected_vectors_have_the_length_that_was_asked_for_at_each_checkpoint():
    case = Case(WithoutBias)
    theirs, mine = (
        case.rand_proj(library, projection_dim=8).src_intermediate_quantities
        for library in (captum, ours)
    )
    assert theirs.shape == (N, 4 * len(RATES))  # 2 x 2, the square of the root's whole part
    assert mine.shape == (N, 8 * len(RATES))


def test_projected_scores_are_estimates_without_bias():
    case = Case(Mlp)
    exact = case.oracle(["2.weight", "2.bias"])
    found = torch.stack(
        [
            case.rand_proj(ours, projection_dim=10, seed=seed).influence(case.queries, None)
            for seed in range(40)
        ]
    )
    assert not torch.equal(found[0], found[1])
    deviation = found.std(dim=0) / len(found) ** 0.5
    assert ((found.mean(dim=0) - exact).abs() < 4 * deviation).all()


def test_captums_rand_proj_seeds_the_global_generator():
    case = Case(WithoutBias)
    torch.manual_seed(5)
    case.rand_proj(captum, seed=3, projection_dim=4)
    assert torch.initial_seed() == 3
    torch.manual_seed(5)
    case.rand_proj(ours, seed=3, projection_dim=4)
    assert torch.initial_seed() == 5


def test_captums_rand_proj_has_no_self_influence():
    case = Case(Mlp)
    with pytest.raises(NotImplementedError):
        case.rand_proj(captum).self_influence()
    names = ["2.weight", "2.bias"]
    assert_close(case.rand_proj(ours).self_influence(), case.oracle_of_self(names))
    of_training = case.rand_proj(ours).self_influence(case.training.tensors)
    assert_close(of_training, case.oracle_of_self(names))


def test_captums_rand_proj_asks_its_search_for_more_than_there_are():
    case = Case(WithoutBias)
    with pytest.raises(RuntimeError):
        case.rand_proj(captum).influence(case.queries, N + 1)
    assert case.rand_proj(ours).influence(case.queries, N + 1).indices.shape == (Q, N)


def test_captums_default_search_needs_another_package():
    case = Case(WithoutBias)
    if find_spec("annoy") is None:
        with pytest.raises(ValueError, match="annoy"):
            case.rand_proj(captum, nearest_neighbors=None)
    found = case.rand_proj(ours, nearest_neighbors=None).influence(case.queries, 3)
    assert_close(found.influence_scores, case.oracle(["2.weight"]).topk(3).values)


# What `sample_wise_grads_per_batch=True` leaves out, or gets wrong


@pytest.mark.parametrize(
    ("kind", "counted"),
    [
        (Normed, ["0.weight", "0.bias", "2.weight", "2.bias"]),
        (Words, ["head.weight"]),
        (Lines, ["head.weight", "head.bias"]),
    ],
)
def test_captum_skips_layers_without_a_word(kind, counted):
    case = Case(kind)
    assert_far(case.oracle(counted), case.oracle())
    assert_close(case.tracin(captum, **BATCHED).influence(case.queries), case.oracle(counted))
    assert_close(case.tracin(ours, **BATCHED).influence(case.queries), case.oracle())


@pytest.mark.parametrize("kind", [Circular, Tied])
def test_captum_has_other_gradients_than_autograd(kind):
    case = Case(kind)
    assert_far(case.tracin(captum, **BATCHED).influence(case.queries), case.oracle())
    assert_close(case.tracin(ours, **BATCHED).influence(case.queries), case.oracle())


class Grouped(Cnn):
    def __init__(self) -> None:
        super().__init__(groups=2)


class Same(Cnn):
    def __init__(self) -> None:
        super().__init__(padding="same")


class OwnLinear(nn.Linear):
    """A subclass, as many models have."""


class Subclassed(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(5, 4), nn.Tanh(), OwnLinear(4, CLASSES))


@pytest.mark.parametrize(
    ("kind", "error"), [(Grouped, RuntimeError), (Same, TypeError), (Subclassed, KeyError)]
)
def test_captum_fails_at_layers_of_its_own_list(kind, error):
    case = Case(kind)
    with pytest.raises(error):
        case.tracin(captum, **BATCHED).influence(case.queries)
    assert_close(case.tracin(ours, **BATCHED).influence(case.queries), case.oracle())


def test_captum_finds_nothing_under_the_name_of_a_container():
    case = Case(Mlp)

    def make(library):
        checkpoints = [({f"0.{k}": v for k, v in s.items()}, r) for s, r in states(Mlp)]
        model = nn.Sequential(net(Mlp))
        options = {"model": model, "checkpoints": checkpoints, "layers": ["0"], **BATCHED}
        return case.tracin(library, **options)

    with pytest.raises(RuntimeError):
        make(captum).self_influence()
    assert_close(make(ours).self_influence(), case.oracle_of_self())


@pytest.mark.parametrize("batched", [False, True])
def test_captum_counts_frozen_parameters_or_fails(batched):
    case = Case(Mlp)
    free = ["0.bias", "2.weight", "2.bias"]

    def make(library):
        model = net(Mlp)
        model[0].weight.requires_grad_(False)
        return case.tracin(library, model=model, **(BATCHED if batched else {}))

    if batched:
        assert_close(make(captum).influence(case.queries), case.oracle())
    else:
        with pytest.raises(RuntimeError, match="does not require grad"):
            make(captum).influence(case.queries)
    assert_far(case.oracle(free), case.oracle())
    assert_close(make(ours).influence(case.queries), case.oracle(free))


def test_captum_fails_where_a_layer_is_never_called():
    case = Case(Partly)
    with pytest.raises(RuntimeError, match="not have been used"):
        case.tracin(captum).influence(case.queries)
    assert_close(case.tracin(ours).influence(case.queries), case.oracle())


def test_captum_counts_a_layer_twice_that_is_named_twice():
    case = Case(Mlp)
    once = case.oracle(["2.weight", "2.bias"])
    assert_close(case.tracin(captum, layers=["2", "2"]).influence(case.queries), 2 * once)
    assert_close(case.tracin(ours, layers=["2", "2"]).influence(case.queries), once)


# Losses


def test_captum_takes_the_reduction_of_one_loss_for_both():
    case = Case(Mlp)

    def total(outputs, labels):
        return first_logit(outputs, labels).sum()

    def mean(outputs, labels):
        return first_logit(outputs, labels).mean()

    mean.reduction = "mean"
    expected = case.oracle(query_loss=first_logit_of_one)
    options = {"loss_fn": CE(reduction="mean"), "sample_wise_grads_per_batch": True}
    theirs = case.tracin(captum, test_loss_fn=total, **options).influence(case.queries)
    assert_close(theirs, Q * expected)
    with pytest.warns(HeadwaterWarning, match="test_loss_fn has no attribute 'reduction'"):
        mine = case.tracin(ours, test_loss_fn=total, **options)
    assert_close(mine.influence(case.queries), expected)
    with pytest.raises(AssertionError, match="reduction"):
        case.tracin(captum, test_loss_fn=mean, **BATCHED).influence(case.queries)
    mine = case.tracin(ours, test_loss_fn=mean, **BATCHED)
    assert_close(mine.influence(case.queries), expected)


@pytest.mark.parametrize("make", [Case.tracin, Case.fast])
def test_captum_scales_weighted_means_as_if_they_were_plain(make):
    case = Case(WithoutBias)
    weight = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
    flag = {"sample_wise_grads_per_batch": True} if make is Case.tracin else {}
    names = None if flag else ["2.weight"]

    def weighted(module, example):
        return nn.functional.cross_entropy(
            module(example[0]), example[1], weight=weight, reduction="sum"
        )

    expected = case.oracle(names, loss=weighted)
    mean, total = (CE(weight=weight, reduction=r) for r in ("mean", "sum"))
    assert_far(make(case, captum, loss_fn=mean, **flag).influence(case.queries), expected)
    with pytest.raises(CaptumLossError, match=r"weighted.*reduction='sum'"):
        make(case, ours, loss_fn=mean, **flag).influence(case.queries)
    assert_close(make(case, ours, loss_fn=total, **flag).influence(case.queries), expected)


# The model, the data and the checkpoints


def test_captum_evaluates_in_train_mode():
    case = Case(Dropping)

    def make(library):
        return case.tracin(library, model=net(Dropping).train())

    once, again = (make(captum).influence(case.queries) for _ in range(2))
    assert_far(once, again)
    assert_close(make(ours).influence(case.queries), case.oracle())


@pytest.mark.parametrize("make", [Case.tracin, Case.fast])
def test_captum_loads_each_checkpoint_for_each_batch(make):
    case = Case(WithoutBias)

    def loads(library):
        loaded = []

        def noted(model, checkpoint):
            loaded.append(checkpoint)
            return load(model, checkpoint)

        estimator = make(case, library, checkpoints_load_func=noted, batch_size=1)
        estimator.influence(case.queries)
        return len(loaded)

    assert loads(captum) >= N * len(RATES)
    assert loads(ours) == len(RATES)


def test_captum_returns_scores_of_gradients_that_are_not_finite():
    case = Case(Mlp)
    features, labels = case.training.tensors
    broken = TensorDataset(features.index_fill(0, torch.tensor([4]), torch.inf), labels)
    assert case.tracin(captum, train_dataset=broken).influence(case.queries)[:, 4].isnan().all()
    with pytest.raises(NonFiniteError, match="training example 4"):
        case.tracin(ours, train_dataset=broken).influence(case.queries)


def test_captum_leaves_its_traces_in_the_model():
    case = Case(Mlp)

    def traces(library):
        model = net(Mlp)
        weights = model[0].weight.clone()
        model(case.queries[0]).sum().backward()
        grad = model[0].weight.grad.clone()
        model.requires_grad_(False)
        case.tracin(library, model=model, layers=["0"], **BATCHED).influence(case.queries)
        kept = model[0].weight.grad
        return {
            "weights": torch.equal(model[0].weight, weights),
            "grad": kept is not None and torch.equal(kept, grad),
            "frozen": not model[0].weight.requires_grad,
            "clean": not hasattr(model[0].weight, "sample_grad"),
        }

    assert not any(traces(captum).values())
    assert all(traces(ours).values())


def test_captum_leaves_a_hook_where_the_loss_raises():
    case = Case(Mlp)
    for library, left in ((captum, 1), (ours, 0)):
        fast = case.fast(library)
        with pytest.raises(IndexError):
            fast.influence((case.queries[0], torch.tensor([9, 9])))
        assert len(fast.final_fc_layer._forward_hooks) == left


def test_ties_go_to_the_lower_index():
    case = Case(Mlp)
    features, labels = case.training.tensors
    alike = TensorDataset(features[:1].expand(12, -1), labels[:1].expand(12))
    top = case.tracin(ours, train_dataset=alike).influence(case.queries, k=5)
    assert top.indices.tolist() == [[0, 1, 2, 3, 4]] * Q
    # Captum's are whichever `torch.topk` happens to find.
    theirs = case.tracin(captum, train_dataset=alike).influence(case.queries, k=5)
    assert_close(theirs.influence_scores, top.influence_scores)


def test_captum_takes_training_examples_in_random_order():
    case = Case(Mlp)
    shuffled = DataLoader(case.training, batch_size=3, shuffle=True)
    assert case.tracin(captum, train_dataset=shuffled).self_influence().shape == (N,)
    with pytest.raises(ShuffledLoaderError):
        case.tracin(ours, train_dataset=shuffled)
    with pytest.raises(ShuffledLoaderError):
        case.tracin(ours).influence(shuffled)


def test_a_sum_over_queries_takes_them_in_any_order():
    case = Case(Mlp)
    shuffled = DataLoader(TensorDataset(*case.queries), batch_size=1, shuffle=True)
    tracin = case.tracin(ours)
    total = case.oracle().sum(dim=0, keepdim=True)
    assert_close(tracin.influence(shuffled, aggregate=True), total)
    vector = tracin.compute_intermediate_quantities(shuffled, aggregate=True)
    training = tracin.compute_intermediate_quantities(case.training.tensors)
    assert_close(vector @ training.T, total)


def test_captums_default_loader_knows_plain_state_dicts_only(tmp_path):
    case = Case(Mlp)

    def make(library):
        loss_fn = CE(reduction="none")
        return library.TracInCP(net(Mlp), case.training, str(tmp_path), loss_fn=loss_fn)

    for place, (state, rate) in enumerate(states(Mlp)):
        torch.save({"model": state, "learning_rate": rate}, tmp_path / f"{place}.pt")
    with pytest.raises(RuntimeError, match="Missing key"):
        make(captum).influence(case.queries)
    assert_close(make(ours).influence(case.queries), case.oracle())

    for place, (state, rate) in enumerate(states(Mlp)):
        torch.save({**state, "learning_rate": rate}, tmp_path / f"{place}.pt")
    with pytest.raises(RuntimeError, match="Unexpected key"):
        make(captum).influence(case.queries)
    assert_close(make(ours).influence(case.queries), case.oracle())

    for place, (state, _) in enumerate(states(Mlp)):
        torch.save(state, tmp_path / f"{place}.pt")
    ones = case.oracle(rates=[1.0, 1.0])
    assert_close(make(captum).influence(case.queries), ones)
    with pytest.warns(HeadwaterWarning, match="no learning rate"):
        assert_close(make(ours).influence(case.queries), ones)


def test_captum_takes_every_file_of_the_folder_for_a_checkpoint(tmp_path):
    case = Case(Mlp)
    torch.save({"state": states(Mlp)[0][0], "rate": 0.3}, tmp_path / "1.pt")
    (tmp_path / "notes.txt").write_text("lr 0.3")
    options = {"checkpoints": str(tmp_path), "checkpoints_load_func": load}
    assert len(case.tracin(captum, **options).checkpoints) == 2
    with pytest.warns(HeadwaterWarning, match=r"notes\.txt"):
        assert case.tracin(ours, **options).checkpoints == [str(tmp_path / "1.pt")]


def test_arguments_cant_be_exchanged_later():
    case = Case(Mlp)
    tracin = case.tracin(ours)
    with pytest.raises(AttributeError, match="make another TracInCP"):
        tracin.checkpoints = states(Mlp)[:1]
    with pytest.raises(AttributeError, match="nearest_neighbors can't be changed"):
        case.rand_proj(ours).nearest_neighbors = Searched()


def test_a_store_is_no_training_data_here(tmp_path):
    with pytest.raises(InputError, match="answers from a store"):
        Case(Mlp).tracin(ours, train_dataset=str(tmp_path))
