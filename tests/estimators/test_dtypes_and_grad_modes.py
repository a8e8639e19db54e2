"""Numbers keep the model's dtype, in whatever mode of autograd the caller is."""

import pytest
import torch
from torch.utils.data import TensorDataset

from tests.oracles import tracin

from .small import (
    QUERIES,
    TRAINING,
    assert_close,
    expected_scores,
    expected_self_influence,
    make,
    model,
    states,
)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("default", [torch.float64, torch.float32])
def test_the_dtype_of_the_model_is_kept(dtype, default):
    before = torch.get_default_dtype()
    estimator = make(
        model=model().to(dtype),
        influence_src_dataset=TensorDataset(TRAINING[0].to(dtype), TRAINING[1]),
    )
    inputs, targets = QUERIES[0].to(dtype), QUERIES[1]
    torch.set_default_dtype(default)
    try:
        scores = estimator.influence(inputs, targets)
        top = estimator.influence(inputs, targets, k=2)
        self_influence = estimator.influence()
    finally:
        torch.set_default_dtype(before)
    assert scores.dtype == top.influence_scores.dtype == self_influence.dtype == dtype
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-4}[dtype]
    scale = float(expected_scores().abs().max())
    torch.testing.assert_close(
        scores.double(), expected_scores(), rtol=tolerance, atol=tolerance * scale
    )


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_calls_work_in_every_grad_mode(mode):
    estimator = make()
    with mode():
        scores = estimator.influence(*QUERIES)
        self_influence = estimator.influence()
        top = estimator.influence(*QUERIES, k=2)
    assert_close(scores.clone(), expected_scores())
    assert_close(self_influence.clone(), expected_self_influence())
    assert torch.equal(top.indices, tracin.top_k(expected_scores(), 2)[0])


def test_constructor_and_calls_work_within_inference_mode():
    expected = expected_scores()
    module, checkpoints = model(), states()
    with torch.inference_mode():
        estimator = make(model=module, checkpoints=checkpoints)
        scores = estimator.influence(*QUERIES)
    assert_close(scores.clone(), expected)
    assert_close(estimator.influence(*QUERIES), expected)


def test_queries_and_training_rows_may_be_inference_tensors():
    with torch.inference_mode():
        x, y = QUERIES[0].clone(), QUERIES[1].clone()
        training = TensorDataset(TRAINING[0].clone(), TRAINING[1].clone())
        checkpoints = [{n: v.clone() for n, v in state.items()} for state in states()]
    estimator = make(influence_src_dataset=training, checkpoints=checkpoints)
    assert_close(estimator.influence(x, y), expected_scores())


def test_inputs_that_require_grad_keep_no_gradient():
    x = QUERIES[0].clone().requires_grad_(True)
    scores = make().influence(x, QUERIES[1])
    assert not scores.requires_grad
    assert x.grad is None
    assert_close(scores, expected_scores())
