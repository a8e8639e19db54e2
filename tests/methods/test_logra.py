"""LoGra against whole gradients between the matrices of its maps."""

import pytest
import torch

from headwater import GradientStore, LoGra
from headwater.forms import Factored, Gradients, LayerProjection
from tests.architectures.architecture import RATES
from tests.architectures.zoo import BY_NAME
from tests.estimators.small import QUERIES, TRAINING
from tests.oracles import methods, tracin

from .common import assert_close, make, random_numbers_left_alone, rows, shapes

LIKE = torch.empty(0, dtype=torch.float64)


def sides(dim, seed, of):
    """Per parameter its rows and columns, and the explicit maps of both."""
    projection, found = LayerProjection(dim, seed, of), []
    for name in of:
        maps = projection.map_of(name, LIKE)
        explicit = [
            torch.eye(size, dtype=torch.float64) if matrix is None else matrix
            for matrix, size in zip((maps.rows, maps.columns), maps.shape, strict=True)
        ]
        found.append((*maps.shape, *explicit))
    return found


@pytest.mark.parametrize("damping", ["auto", 0.2])
def test_scores_are_those_of_projected_gradients_by_parameter(damping):
    expected = methods.logra(*rows(), sides(2, 5, shapes()), damping)
    estimator = make(LoGra, dim=2, seed=5, damping=damping)
    with random_numbers_left_alone():
        assert_close(estimator.influence(*QUERIES), expected)
    top = estimator.influence(*QUERIES, k=3)
    assert torch.equal(top.indices, tracin.top_k(expected, 3)[0])
    assert_close(estimator.influence(), estimator.influence(*TRAINING).diagonal())


def test_axes_that_are_short_are_left_as_they_are():
    for rows_, columns, left, right in sides(4, 0, shapes()):
        assert left.shape == (min(rows_, 4), rows_)
        assert right.shape == (min(columns, 4 if rows_ > 1 else 16), columns)


def test_a_store_gives_the_same_scores(tmp_path):
    estimator = make(LoGra, dim=2, seed=5)
    GradientStore.build(estimator, tmp_path / "s", dtype="float64")
    stored = make(LoGra, dim=2, seed=5, data=str(tmp_path / "s"))
    assert_close(stored.influence(*QUERIES), estimator.influence(*QUERIES))
    own = make(LoGra, dim=2, seed=5, data=str(tmp_path / "s"), checkpoints=None)
    assert_close(own.influence(), estimator.influence())


# At least one of each form that gradients come in.
KINDS = [
    "linear_on_sequences",
    "conv1d_of_hugging_face_on_sequences",
    "depthwise_cnn",
    "conv_transpose_output_size",
    "embedding",
    "gpt_with_tied_head",
    "tied_convolutions",
    "prelu",
    "lstm_batch_first",
    "lora_merged",
]


@pytest.mark.parametrize("architecture", [BY_NAME[name] for name in KINDS], ids=str)
def test_every_architecture_is_projected_as_its_whole_gradients_are(architecture):
    module = architecture.model()
    names = tracin.trainable_names(module)
    of = {name: p.shape for name, p in module.named_parameters() if name in names}
    found = ([], [])
    for state in architecture.states():
        module.load_state_dict(state)
        for part, examples in zip(
            found, (architecture.query(), architecture.training()), strict=True
        ):
            singles = architecture.examples(*examples)
            part.append(
                tracin.per_example_gradients(module, architecture.loss_of_one, singles, names)
            )
    expected = methods.logra(*found, sides(3, 1, of), 0.3)
    source = architecture.source(torch.float64, 3)
    loader = isinstance(source, torch.utils.data.DataLoader)
    estimator = LoGra(
        architecture.model(),
        source,
        architecture.states(),
        loss_fn=architecture.loss,
        dim=3,
        seed=1,
        damping=0.3,
        **({} if loader else {"batch_size": 3}),
    )
    inputs, targets = architecture.query()
    got = estimator.influence(inputs[0] if len(inputs) == 1 else inputs, targets)
    assert len(architecture.states()) == len(RATES)
    assert_close(got, expected, 1e-8)


def test_products_of_projections_are_right_on_average():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 1, 3, 6, generator=generator, dtype=torch.float64)
    grads = torch.randn(2, 1, 3, 5, generator=generator, dtype=torch.float64)
    form = Factored(inputs, grads)
    exact = form.materialise() @ form.materialise().mT
    found = []
    for seed in range(3000):
        projection = LayerProjection(2, seed, {"weight": torch.Size([5, 6])})
        small = projection(Gradients({("weight",): form}, 2, LIKE), 0)
        found.append(small.dot(small))
    mean, error = torch.stack(found).mean(dim=0), torch.stack(found).std(dim=0) / 3000**0.5
    assert ((mean - exact).abs() < 4 * error).all()
    # And not so exact that there would be no projection.
    assert (error > 0.005 * exact.abs()).all()
