"""The table is well posed: an example's loss is its own, and is not flat."""

import pytest
import torch

from tests.oracles import tracin

from .zoo import ARCHITECTURES, BY_NAME

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


def test_each_architecture_has_a_name_of_its_own():
    assert len(BY_NAME) == len(ARCHITECTURES)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_losses_of_a_batch_equal_losses_of_single_examples(architecture):
    for variant, data in ((0, architecture.training()), (1, architecture.query())):
        model = architecture.model(variant=variant).eval()
        inputs, targets = data
        together = architecture.loss(model(*inputs), targets)
        assert together.shape == targets.shape[:1]
        alone = [architecture.loss_of_one(model, e) for e in architecture.examples(*data)]
        torch.testing.assert_close(together, torch.stack(alone), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_gradients_are_finite_and_differ_between_examples_and_checkpoints(architecture):
    models = [architecture.model(variant=variant) for variant in (1, 2)]
    examples = architecture.examples(*architecture.training())
    rows = [
        tracin.per_example_gradients(
            model, architecture.loss_of_one, examples, tracin.trainable_names(model)
        )
        for model in models
    ]
    for gradients in rows:
        assert gradients.isfinite().all()
        assert (gradients.abs().amax(1) > 1e-6).all()
        assert torch.pdist(gradients).min() > 1e-6
    assert (rows[0] - rows[1]).abs().max() > 1e-3


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_a_model_is_built_the_same_each_time(architecture):
    for a, b in zip(architecture.states(), architecture.states(), strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)
