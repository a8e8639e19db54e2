"""What is easily passed by mistake is an error that says what to pass instead."""

import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

from headwater import (
    SOURCE,
    TRAK,
    BatchError,
    GradCos,
    GradDot,
    GradientStore,
    HeadwaterWarning,
    InfluenceFunction,
    InputError,
    LoGra,
    RepresentationSimilarity,
    Task,
    TrainingLoss,
)
from tests.estimators.final_layers import Plain

from .small import QUERIES, TRAINING, N, cross_entropy, dataset, make, model, rows, states
from .test_tracincp_fast import fast
from .test_tracincp_fast_rand_proj import rand_proj

ASKS = {
    "estimator": lambda path: make().influence,
    "top-k": lambda path: lambda *queries: make().influence(*queries, k=2),
    "projected": lambda path: rand_proj().influence,
    "store": lambda path: GradientStore.build(make(), path / "s").scores,
    "top-k of a store": lambda path: GradientStore.build(make(), path / "s").top_k,
}
everywhere = pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)


@pytest.mark.parametrize("build", [make, lambda **options: fast(Plain, **options)])
def test_the_class_of_a_loss_is_not_the_loss(build):
    with pytest.raises(InputError, match=r"class CrossEntropyLoss.*CrossEntropyLoss\(reduction="):
        build(loss_fn=nn.CrossEntropyLoss)


@pytest.mark.parametrize("kind", [tuple, list])
def test_columns_are_not_a_dataset(kind, tmp_path):
    with pytest.raises(InputError, match=r"influence_src_dataset is a .*TensorDataset\(X, y\)"):
        make(influence_src_dataset=kind(TRAINING))
    store = GradientStore.build(make(), tmp_path / "s")
    with pytest.raises(InputError, match=r"dataset is a .* 7 entries each.*TensorDataset\(X, y\)"):
        store.append(kind(TRAINING))
    with pytest.raises(InputError, match="dataset is a tensor of shape"):
        store.append(TRAINING[0])


def test_a_tensor_has_no_targets():
    with pytest.raises(InputError, match=r"a tensor of shape \(7, 5\), without targets; expected"):
        make(influence_src_dataset=TRAINING[0])


EMPTY = TensorDataset(TRAINING[0][:0], TRAINING[1][:0])
OF_SOME_EXAMPLES = {
    **{
        kind.__name__: lambda kind=kind: kind(model(), EMPTY, states(), loss_fn=cross_entropy)
        for kind in (GradDot, GradCos, TRAK, LoGra, RepresentationSimilarity, TrainingLoss)
    },
    "InfluenceFunction": lambda: InfluenceFunction(model(), DataLoader(EMPTY), cross_entropy),
    "SOURCE": lambda: SOURCE(
        model(), EMPTY, states(), loss_fn=cross_entropy, updates=[1, 2], learning_rates=[0.1, 0.1]
    ),
}


@pytest.mark.parametrize("build", OF_SOME_EXAMPLES.values(), ids=OF_SOME_EXAMPLES)
def test_data_without_examples_is_refused(build):
    with pytest.raises(InputError, match="of 0 examples; expected at least one"):
        build()


class SquaredOutput(Task):
    def losses(self, model, batch):
        return model(batch).square().sum(dim=1)


def test_a_task_may_read_tensors():
    options = {"loss_fn": None, "task": SquaredOutput(), "batch_size": 3}
    for source in (TRAINING[0], list(TRAINING[0])):
        assert make(influence_src_dataset=source, **options).influence().shape == (N,)
    with pytest.raises(InputError, match="if they are examples, pass them as a list"):
        make(influence_src_dataset=tuple(TRAINING[0]), **options)


def test_swapped_arguments_of_a_store(tmp_path):
    path = str(tmp_path / "s")
    with pytest.raises(InputError, match=r"estimator is a str; .*build\(estimator, path\)"):
        GradientStore.build(path, make())
    with pytest.raises(InputError, match=r"path is a TracInCP; .*open\(path, estimator\)"):
        GradientStore.open(make(), path)
    with pytest.raises(InputError, match="path is a int"):
        GradientStore.build(make(), 5)
    assert not (tmp_path / "s").exists()


@everywhere
def test_a_loader_or_dataset_is_no_batch_of_queries(ask, tmp_path):
    for source in (DataLoader(dataset()), dataset()):
        with pytest.raises(InputError, match=r"inputs is a (DataLoader|TensorDataset); expected"):
            ask(tmp_path)(source)


@everywhere
def test_one_query_without_a_batch_is_not_taken_for_none(ask, tmp_path):
    with pytest.raises(BatchError, match=r"looks like a single query; .*inputs\[None\]"):
        ask(tmp_path)(QUERIES[0][0], QUERIES[1][0])
    with pytest.raises(BatchError, match="there are 0 queries"):
        ask(tmp_path)(QUERIES[0][:0], QUERIES[1][:0])


@everywhere
def test_arrays_are_named_as_what_they_are(ask, tmp_path):
    x, y = (part.numpy() for part in QUERIES)
    said = r"inputs is a numpy array of shape \(2, 5\) .*torch\.as_tensor"
    for queries in [(x, y), (x, QUERIES[1]), (x[:1],)]:
        with pytest.raises(BatchError, match=said.replace("2", str(len(queries[0])))):
            ask(tmp_path)(*queries)
    with pytest.raises(BatchError, match=r"targets is a numpy array of shape \(2,\) of int64"):
        ask(tmp_path)(QUERIES[0], y)


class FromArrays(Task):
    def losses(self, model, batch):
        return cross_entropy(model(torch.as_tensor(batch["x"])), torch.as_tensor(batch["y"]))

    def size(self, batch):
        return len(batch["x"])


def test_a_task_may_read_arrays_if_it_knows_their_number():
    queries = {"x": QUERIES[0].numpy(), "y": QUERIES[1].numpy()}
    rows = [{"x": x, "y": y} for x, y in zip(*TRAINING, strict=True)]
    options = {"influence_src_dataset": rows, "loss_fn": None}
    assert torch.equal(
        make(task=FromArrays(), **options).influence(queries), make().influence(*QUERIES)
    )

    class DoesNotSay(FromArrays):
        size = Task.size

    with pytest.raises(BatchError, match=r"a batch of queries has a numpy array .*as_tensor"):
        make(task=DoesNotSay(), **options).influence(queries)


@everywhere
@pytest.mark.parametrize("kind", [tuple, list])
def test_inputs_and_targets_in_one_argument(ask, kind, tmp_path):
    with pytest.raises(InputError, match=r"2 parts.*\.forward takes \(x\).*\(inputs, targets\)"):
        ask(tmp_path)(kind(QUERIES))


class OfTwo(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = model()

    def forward(self, x, shift=None):
        return self.inner(x if shift is None else x + shift).sum(dim=1)


def test_several_inputs_without_targets_are_several_inputs():
    states = [dict(OfTwo().state_dict()) for _ in range(2)]
    estimator = make(
        model=OfTwo(), checkpoints=states, loss_fn=lambda found, _: found.square(), batch_size=3
    )
    shifted = estimator.influence((QUERIES[0], torch.ones_like(QUERIES[0])))
    assert torch.equal(shifted, estimator.influence(QUERIES[0] + 1))


def assert_noted(caught, beginning):
    # Python 3.10 has no notes.
    if hasattr(caught.value, "add_note"):
        (note,) = caught.value.__notes__
        assert note.startswith(f"headwater: raised for the {beginning}")


@everywhere
def test_an_error_of_the_model_with_queries_says_so(ask, tmp_path):
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        ask(tmp_path)(rows(2, 0, 6), QUERIES[1])
    assert_noted(caught, "queries")


def test_an_error_of_the_model_with_queries_says_what_they_are_beside_training_examples():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        make(batch_size=3).influence(rows(2, 0, 6), QUERIES[1][:2])
    assert_noted(
        caught,
        f"queries, which are float64 (2, 6), int64 (2,); a batch of training examples is "
        f"float64 {(3, *TRAINING[0].shape[1:])}, int64 (3,)",
    )


class Picky(nn.Module):
    """Fails for the sixth training example."""

    def __init__(self):
        super().__init__()
        self.inner = model()

    def forward(self, x):
        if bool((x == TRAINING[0][5]).all(dim=1).any()):
            raise KeyError("the sixth")
        return self.inner(x)


def picky(**options):
    states = [dict(Picky().state_dict()) for _ in range(2)]
    return make(model=Picky(), checkpoints=states, **options)


@pytest.mark.parametrize("memory_budget", ["auto", "1kB"])
@pytest.mark.parametrize("ask", [lambda e: e.influence(), lambda e: e.influence(*QUERIES, k=1)])
def test_an_error_of_the_model_with_training_examples_says_so(ask, memory_budget):
    with pytest.raises(KeyError, match="the sixth") as caught:
        ask(picky(batch_size=2, memory_budget=memory_budget))
    assert_noted(caught, "training examples from 4 on")


def test_an_error_of_the_loss_says_so(tmp_path):
    def loss(predictions, targets):
        if bool((targets == -1).any()):
            raise ArithmeticError("a negative label")
        return cross_entropy(predictions, targets)

    wrong = torch.full((2,), -1)
    with pytest.raises(ArithmeticError, match="a negative label") as caught:
        make(loss_fn=loss).influence(QUERIES[0], wrong)
    assert_noted(caught, "queries")
    data = TensorDataset(QUERIES[0], wrong)
    with pytest.raises(ArithmeticError, match="a negative label") as caught:
        make(loss_fn=loss, influence_src_dataset=data).influence()
    assert_noted(caught, "training examples from 0 on")
    with pytest.raises(ArithmeticError, match="a negative label") as caught:
        GradientStore.build(make(loss_fn=loss, influence_src_dataset=data), tmp_path / "s")
    assert_noted(caught, "training examples of the sample")


@pytest.mark.parametrize(
    ("size", "said"), [(3, "the last 1 example is left out"), (4, "the last 3 examples are left")]
)
def test_dropping_the_last_examples_is_said(size, said):
    by_sampler = BatchSampler(SequentialSampler(dataset()), size, drop_last=True)
    for loader in (
        DataLoader(dataset(), batch_size=size, drop_last=True),
        DataLoader(dataset(), batch_sampler=by_sampler),
    ):
        with pytest.warns(HeadwaterWarning, match=said) as caught:
            estimator = make(influence_src_dataset=loader)
        assert caught[0].filename.endswith("small.py")
        assert estimator.influence(*QUERIES).shape == (2, N - N % size)
    # Nothing is left out, so nothing is said.
    make(influence_src_dataset=DataLoader(dataset(), batch_size=7, drop_last=True))
