"""The same numbers as Captum's, to rounding, wherever Captum is right."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from headwater.compat import captum as ours

from .nets import (
    RATES,
    Case,
    Cnn,
    Mlp,
    N,
    Q,
    Tied,
    WithoutBias,
    Words,
    assert_close,
    first_logit,
    states,
)
from .warned import CAPTUM_WARNS

captum = pytest.importorskip("captum.influence")

BOTH = (captum, ours)
CE = nn.CrossEntropyLoss

pytestmark = CAPTUM_WARNS


def assert_same(theirs, mine):
    if isinstance(theirs, tuple):
        assert type(mine).__name__ == type(theirs).__name__
        assert mine.indices.dtype == theirs.indices.dtype
        assert torch.equal(mine.indices, theirs.indices)
        theirs, mine = theirs.influence_scores, mine.influence_scores
    assert mine.dtype == theirs.dtype
    assert not mine.requires_grad
    assert_close(mine, theirs)


def same(make, ask):
    """What `ask` asks of the estimators that `make` makes has the same answer."""
    theirs, mine = (ask(make(library)) for library in BOTH)
    assert_same(theirs, mine)
    return mine


def loader(case, size=1):
    return DataLoader(TensorDataset(*case.queries), batch_size=size)


@pytest.mark.parametrize("kind", [Mlp, Cnn, Words, Tied])
def test_scores_of_losses_per_example(kind):
    case = Case(kind)
    scores = same(case.tracin, lambda tracin: tracin.influence(case.queries))
    assert scores.shape == (Q, N)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("kind", [Mlp, Cnn])
def test_scores_of_reduced_losses(kind, reduction):
    case = Case(kind)
    same(
        lambda library: case.tracin(
            library, loss_fn=CE(reduction=reduction), sample_wise_grads_per_batch=True
        ),
        lambda tracin: tracin.influence(case.queries),
    )


@pytest.mark.parametrize("layers", [["0"], ["2", "0"], ["2"]])
@pytest.mark.parametrize("batched", [False, True])
def test_named_layers(layers, batched):
    case = Case(Mlp)
    options = {
        "layers": layers,
        "loss_fn": CE(reduction="sum" if batched else "none"),
        "sample_wise_grads_per_batch": batched,
    }
    same(
        lambda library: case.tracin(library, **options),
        lambda tracin: tracin.influence(case.queries),
    )


@pytest.mark.parametrize("size", [1, N, N + 5])
def test_any_batch_size(size):
    case = Case(Mlp)
    same(
        lambda library: case.tracin(library, batch_size=size),
        lambda tracin: tracin.influence(case.queries),
    )


def test_training_examples_from_a_loader():
    case = Case(Mlp)
    given = DataLoader(case.training, batch_size=4)
    same(
        lambda library: case.tracin(library, train_dataset=given, batch_size=None),
        lambda tracin: tracin.influence(case.queries),
    )


class Stream(IterableDataset):
    def __iter__(self):
        return iter(Case(Mlp).training)


def test_training_examples_from_a_stream():
    case = Case(Mlp)
    same(
        lambda library: case.tracin(library, train_dataset=Stream()),
        lambda tracin: tracin.influence(case.queries, k=3),
    )


@pytest.mark.parametrize("proponents", [True, False])
@pytest.mark.parametrize("k", [0, 1, 3, N + 9])
def test_the_most_influential(k, proponents):
    case = Case(Mlp)
    same(case.tracin, lambda tracin: tracin.influence(case.queries, k, proponents))


def test_queries_from_a_loader():
    case = Case(Mlp)
    for k in (None, 3):
        same(case.tracin, lambda tracin, k=k: tracin.influence(loader(case), k=k))


def test_queries_as_a_list():
    case = Case(Mlp)
    same(case.tracin, lambda tracin: tracin.influence(list(case.queries)))


@pytest.mark.parametrize("k", [None, 3])
def test_queries_summed_to_one(k):
    case = Case(Mlp)
    for queries in (case.queries, loader(case)):
        found = same(
            case.tracin,
            lambda tracin, queries=queries: tracin.influence(queries, k=k, aggregate=True),
        )
        assert (found if k is None else found.indices).shape == (1, k or N)


def test_another_loss_for_queries():
    case = Case(Mlp)
    same(
        lambda library: case.tracin(library, test_loss_fn=first_logit),
        lambda tracin: tracin.influence(case.queries),
    )


def test_losses_of_several_numbers_per_example_are_added_up():
    case = Case(Mlp)
    targets = torch.randn(N, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    training = TensorDataset(case.training.tensors[0], targets)
    queries = (case.queries[0], targets[:Q])
    same(
        lambda library: case.tracin(
            library, train_dataset=training, loss_fn=nn.MSELoss(reduction="none")
        ),
        lambda tracin: tracin.influence(queries),
    )


@pytest.mark.parametrize("batched", [False, True])
def test_without_a_loss_outputs_are_added_up(batched):
    case = Case(Mlp)
    same(
        lambda library: case.tracin(library, loss_fn=None, sample_wise_grads_per_batch=batched),
        lambda tracin: tracin.influence(case.queries),
    )


def test_queries_without_labels():
    case = Case(Mlp)
    same(case.tracin, lambda tracin: tracin.influence((case.queries[0], None)))


@pytest.mark.parametrize("outer", [False, True])
def test_self_influence(outer):
    case = Case(Mlp)
    for inputs in (None, case.queries, loader(case)):
        same(
            case.tracin,
            lambda tracin, inputs=inputs: tracin.self_influence(
                inputs, outer_loop_by_checkpoints=outer
            ),
        )


def test_intermediate_quantities_are_captums_but_for_the_rate():
    case = Case(Mlp)
    for aggregate in (False, True):
        for inputs in (case.queries, loader(case)):
            theirs, mine = (
                case.tracin(library).compute_intermediate_quantities(inputs, aggregate)
                for library in BOTH
            )
            each = theirs.shape[1] // len(RATES)
            roots = torch.tensor(RATES, dtype=torch.float64).sqrt().repeat_interleave(each)
            assert_close(mine * roots, theirs)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_fast_scores(reduction):
    case = Case(WithoutBias)
    same(
        lambda library: case.fast(library, loss_fn=CE(reduction=reduction)),
        lambda fast: fast.influence(case.queries),
    )


@pytest.mark.parametrize("proponents", [True, False])
@pytest.mark.parametrize("k", [1, 3, N + 9])
def test_fast_most_influential(k, proponents):
    case = Case(WithoutBias)
    same(case.fast, lambda fast: fast.influence(case.queries, k, proponents))


def test_fast_self_influence():
    case = Case(WithoutBias)
    for inputs in (None, case.queries, loader(case)):
        same(case.fast, lambda fast, inputs=inputs: fast.self_influence(inputs))


def test_fast_with_another_loss_for_queries():
    case = Case(WithoutBias)

    def summed(outputs, labels):
        return first_logit(outputs, labels).sum()

    summed.reduction = "sum"
    same(
        lambda library: case.fast(library, test_loss_fn=summed),
        lambda fast: fast.influence(case.queries),
    )


def test_fast_takes_the_layer_itself():
    case = Case(WithoutBias)

    def make(library):
        model = Case(WithoutBias).tracin(library).model
        made = case.fast(library, model=model, final_fc_layer=list(model.children())[-1])
        assert made.final_fc_layer is model[2]
        return made

    same(make, lambda fast: fast.influence(case.queries))


def test_fast_of_words():
    case = Case(Words)
    same(case.fast, lambda fast: fast.influence(case.queries))


@pytest.mark.parametrize("projection_dim", [None, 12, 1000])
def test_vectors_that_nothing_would_shorten(projection_dim):
    case = Case(WithoutBias)

    def make(library):
        return case.rand_proj(library, projection_dim=projection_dim)

    same(make, lambda proj: proj.influence(case.queries, k=None))
    same(make, lambda proj: proj.influence(loader(case), k=None))
    same(make, lambda proj: proj.influence(case.queries))  # five proponents
    same(make, lambda proj: proj.influence(case.queries, 3, False))
    same(make, lambda proj: proj.compute_intermediate_quantities(case.queries))
    same(make, lambda proj: proj.src_intermediate_quantities)


def load_file(model, path):
    stored = torch.load(path)
    model.load_state_dict(stored["state"])
    return stored["rate"]


@pytest.mark.parametrize("given", ["folder", "list", "iterator"])
def test_checkpoint_files(tmp_path, given):
    case = Case(Mlp)
    paths = [str(tmp_path / f"ckpt-{place}.pt") for place in (2, 10)]
    for path, (state, rate) in zip(paths, states(Mlp), strict=True):
        torch.save({"state": state, "rate": rate}, path)

    def make(library):
        forms = {"folder": str(tmp_path), "list": paths[::-1], "iterator": iter(paths)}
        made = case.tracin(library, checkpoints=forms[given], checkpoints_load_func=load_file)
        assert made.checkpoints == paths
        return made

    same(make, lambda tracin: tracin.influence(case.queries))


def test_progress_is_shown_where_it_is_asked_for(capsys):
    case = Case(WithoutBias)
    for make in (case.tracin, case.fast):
        for library in BOTH:
            estimator = make(library)
            estimator.influence(case.queries, k=2, show_progress=True)
            estimator.self_influence(show_progress=True)
            assert capsys.readouterr().err.count(estimator.get_name()) >= 2
            estimator.influence(case.queries)
            assert not capsys.readouterr().err
