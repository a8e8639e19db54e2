"""What Captum refuses is refused with its type of error, and with words that name the cause."""

from functools import partial

import numpy
import pytest
import torch
from torch import nn

from headwater import HeadwaterError, HeadwaterWarning, InputError
from headwater.compat import captum as ours
from headwater.errors import (
    BatchError,
    CaptumArgumentError,
    CaptumLayerError,
    CaptumLossError,
    LossError,
    SelectionError,
)

from .nets import Case, Mlp
from .warned import CAPTUM_WARNS

captum = pytest.importorskip("captum.influence")

pytestmark = CAPTUM_WARNS
CASE = Case(Mlp)
CE = nn.CrossEntropyLoss
TRACIN, FAST, PROJ = CASE.tracin, CASE.fast, CASE.rand_proj


def plain_mean(outputs, labels):
    return nn.functional.cross_entropy(outputs, labels)


def asked(make, library, *args, **kwargs):
    return make(library).influence(*args, **kwargs)


MISUSES = {
    "inputs missing": (partial(asked, TRACIN), [None], {}, AssertionError, "inputs.*required"),
    "inputs missing, fast": (partial(asked, FAST), [None], {}, AssertionError, "self_influence"),
    "inputs missing, vectors": (partial(asked, PROJ), [], {}, AssertionError, "self_influence"),
    "no batch size": (TRACIN, [], {"batch_size": None}, AssertionError, "batch_size.*must be an"),
    "no loss, fast": (FAST, [], {"loss_fn": None}, AssertionError, "loss function must not be"),
    "no loss, vectors": (PROJ, [], {"loss_fn": None}, AssertionError, "loss function must not be"),
    "a number for a loss": (TRACIN, [], {"loss_fn": 3}, AssertionError, None),
    "a reduced loss": (
        TRACIN,
        [],
        {"loss_fn": CE()},
        AssertionError,
        'must be "none".*sample_wise|sample_wise.*must be "none"',
    ),
    "a reduced loss for queries": (
        TRACIN,
        [],
        {"test_loss_fn": CE(reduction="sum")},
        AssertionError,
        'must be "none"',
    ),
    "losses per example": (
        TRACIN,
        [],
        {"loss_fn": CE(reduction="none"), "sample_wise_grads_per_batch": True},
        AssertionError,
        '"sum" or "mean"',
    ),
    "losses per example, fast": (
        FAST,
        [],
        {"loss_fn": CE(reduction="none")},
        AssertionError,
        '"sum" or "mean"',
    ),
    "losses per example of queries, fast": (
        FAST,
        [],
        {"test_loss_fn": CE(reduction="none")},
        AssertionError,
        '"sum" or "mean"',
    ),
    "losses per example, vectors": (
        PROJ,
        [],
        {"loss_fn": CE(reduction="none")},
        AssertionError,
        '"sum" or "mean"',
    ),
    "layers as a text": (TRACIN, [], {"layers": "0"}, AssertionError, "layers.*should be a list"),
    "layers, but none": (TRACIN, [], {"layers": []}, AssertionError, "layers.*cannot be empty"),
    "layers by number": (TRACIN, [], {"layers": [0]}, AssertionError, "layers.*should contain"),
    "an unknown layer": (TRACIN, [], {"layers": ["fc9"]}, AttributeError, "fc9"),
    "an unknown final layer": (
        FAST,
        [],
        {"final_fc_layer": "fc9"},
        ValueError,
        r"(?i)invalid final_fc_layer.*fc9",
    ),
    "no checkpoints": (
        TRACIN,
        [],
        {"checkpoints": iter(())},
        ValueError,
        "(?i)invalid checkpoints",
    ),
    "no folder": (TRACIN, [], {"checkpoints": "no such folder"}, ValueError, "no such folder"),
}


@pytest.mark.parametrize("library", [captum, ours], ids=["captum", "ours"])
@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES)
def test_a_misuse_has_captums_error(misuse, library):
    make, args, options, error, words = misuse
    with pytest.raises(error, match=words) as caught:
        make(library, *args, **options)
    assert library is captum or isinstance(caught.value, HeadwaterError)


def test_a_loss_of_another_kind_than_said_is_refused_at_the_first_batch():
    for library in (captum, ours):
        tracin = CASE.tracin(library, loss_fn=plain_mean)
        with pytest.raises(AssertionError, match=r"(?i)reduction"):
            tracin.influence(CASE.queries)
        with pytest.raises(AssertionError):
            tracin.self_influence()
    with pytest.raises(CaptumLossError):
        tracin.compute_intermediate_quantities(CASE.queries)


def test_outputs_without_a_batch_are_refused():
    class Total(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Mlp()

        def forward(self, x):
            return self.inner(x).sum()

    def make(library):
        model = Total().double()
        checkpoints = [(model.state_dict(), 0.1)]
        return CASE.tracin(library, model=model, checkpoints=checkpoints, loss_fn=None)

    for library in (captum, ours):
        with pytest.raises(AssertionError, match="at least one dimension"):
            make(library).influence(CASE.queries)


def test_errors_are_both_of_captums_kind_and_of_headwaters():
    assert issubclass(CaptumArgumentError, InputError)
    assert issubclass(CaptumLossError, LossError)
    assert issubclass(CaptumLayerError, SelectionError)
    for error in (CaptumArgumentError, CaptumLossError):
        assert issubclass(error, AssertionError)
        assert issubclass(error, ValueError)


def test_a_class_in_the_place_of_a_loss_is_named():
    with pytest.raises(CaptumArgumentError, match="CrossEntropyLoss itself"):
        CASE.fast(ours, loss_fn=CE)


@pytest.mark.parametrize("inputs", [torch.zeros(2, 5), {"x": torch.zeros(2, 5)}, "text"])
def test_inputs_that_are_no_batch_are_refused(inputs):
    for make in (CASE.tracin, CASE.fast, CASE.rand_proj):
        with pytest.raises(BatchError, match="as a tuple, or a DataLoader"):
            make(ours).influence(inputs)


def test_no_queries_are_refused():
    empty = torch.utils.data.DataLoader([], batch_size=2)
    with pytest.raises(BatchError, match="without any batch"):
        CASE.tracin(ours).influence(empty)
    with pytest.raises(BatchError, match="0 queries"):
        CASE.tracin(ours).influence(tuple(part[:0] for part in CASE.queries))


def test_k_is_a_number_of_examples():
    tracin, proj = CASE.tracin(ours), CASE.rand_proj(ours)
    for k in (-1, 2.0, "3", True):
        for estimator in (tracin, proj):
            with pytest.raises(InputError, match="k is"):
                estimator.influence(CASE.queries, k)
    for estimator in (tracin, proj):
        assert estimator.influence(CASE.queries, numpy.int64(2)).indices.shape == (2, 2)


def test_columns_in_the_place_of_a_dataset_are_named():
    with pytest.raises(InputError, match=r"train_dataset.*TensorDataset"):
        CASE.tracin(ours, train_dataset=CASE.training.tensors)


def test_a_layer_of_another_model_is_refused():
    with pytest.raises(SelectionError, match="isn't in the model"):
        CASE.fast(ours, final_fc_layer=nn.Linear(4, 3))


@pytest.mark.parametrize("name", ["TracInCP", "TracInCPFast", "TracInCPFastRandProj"])
def test_an_assumed_sum_is_said_where_the_estimator_is_made(name):
    def total(outputs, labels):
        return nn.functional.cross_entropy(outputs, labels, reduction="sum")

    options = {"sample_wise_grads_per_batch": True} if name == "TracInCP" else {}
    arguments = CASE.arguments(name, loss_fn=total, **options)
    with pytest.warns(HeadwaterWarning, match=r"taken for the \*sum\*") as noted:
        getattr(ours, name)(**arguments)
    assert noted[0].filename == __file__
