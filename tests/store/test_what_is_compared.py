"""A store opens with what it was made of, and is refused with anything else, by name."""

import json

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from headwater import GradientStore, StoreMismatchError, Task
from headwater.estimators.stored.sample_losses import different_loss
from headwater.store import Manifest, StoreFolder
from tests.estimators.small import TRAINING, Small, Stream, cross_entropy, dataset, make, model

PLAIN = nn.CrossEntropyLoss(reduction="none")


class OtherForward(Small):
    """The same parameters, and GELU where there was tanh."""

    def forward(self, x):
        return self.fc(torch.tanh(self.body(self.fc10(nn.functional.gelu(self.fc1(x))))))


class OwnLoss(nn.Module):
    def __init__(self, factor, weight):
        super().__init__()
        self.factor = factor
        self.register_buffer("weight", torch.tensor(weight, dtype=torch.float64))

    def forward(self, predictions, targets):
        return cross_entropy(predictions, targets) * self.factor * self.weight


def built(path, **options):
    GradientStore.build(make(**options), path / "s")
    return path / "s"


def refused(path, field, **options):
    estimator = make(**options)
    with pytest.raises(StoreMismatchError, match=rf"field '{field}'") as caught:
        GradientStore.open(path, estimator)
    with pytest.raises(StoreMismatchError, match=rf"field '{field}'"):
        GradientStore.build(estimator, path)
    return str(caught.value)


@pytest.mark.parametrize(
    "other",
    [
        nn.CrossEntropyLoss(reduction="none", label_smoothing=0.3),
        nn.CrossEntropyLoss(reduction="none", ignore_index=1),
        nn.CrossEntropyLoss(reduction="none", weight=torch.ones(3, dtype=torch.float64)),
    ],
    ids=["label_smoothing", "ignore_index", "weight"],
)
def test_the_settings_of_a_loss_are_compared(tmp_path, other):
    path = built(tmp_path, loss_fn=PLAIN)
    refused(path, "loss", loss_fn=other)
    # Without the training data too.
    with pytest.raises(StoreMismatchError, match=r"field 'loss'.* the loss differs"):
        make(influence_src_dataset=path, loss_fn=other)
    make(influence_src_dataset=path, loss_fn=nn.CrossEntropyLoss(reduction="none").eval())


@pytest.mark.parametrize("other", [OwnLoss(2.0, 3.0), OwnLoss(1.5, 3.5)], ids=["factor", "weight"])
def test_settings_and_tensors_of_a_loss_of_ones_own_are_compared(tmp_path, other):
    path = built(tmp_path, loss_fn=OwnLoss(1.5, 3.0))
    GradientStore.open(path, make(loss_fn=OwnLoss(1.5, 3.0)))
    refused(path, "loss", loss_fn=other)


def smoothed(amount):
    def loss(predictions, targets):
        return nn.functional.cross_entropy(
            predictions, targets, reduction="none", label_smoothing=amount
        )

    return loss


def test_a_function_of_the_same_name_that_gives_other_losses_is_refused(tmp_path):
    path = built(tmp_path, loss_fn=smoothed(0.0))
    said = refused(path, "losses", loss_fn=smoothed(0.3))
    assert "the losses of a sample of the training examples differ" in said
    assert "another loss or another forward pass" in said


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
@pytest.mark.parametrize("source", [dataset, lambda: DataLoader(dataset(), batch_size=2), Stream])
def test_another_forward_with_the_same_parameters_is_refused(tmp_path, source, batch_size):
    options = {"influence_src_dataset": source(), "batch_size": batch_size}
    path = built(tmp_path, **options)
    GradientStore.open(path, make(**options))
    refused(path, "losses", model=model(kind=OtherForward), **options)


def test_another_batch_size_is_the_same_training_data(tmp_path):
    path = built(tmp_path, batch_size=1)
    for source in (dataset(), DataLoader(dataset(), batch_size=5)):
        GradientStore.open(path, make(influence_src_dataset=source, batch_size="auto"))


class MeanLoss(Task):
    def __init__(self, power):
        self.power = power

    def losses(self, model, batch):
        return cross_entropy(model(batch[0]), batch[1]) ** self.power


def test_numbers_that_a_task_was_made_with_are_compared(tmp_path):
    options = {"loss_fn": None, "influence_src_dataset": dataset()}
    path = built(tmp_path, task=MeanLoss(1.5), **options)
    refused(path, "loss", task=MeanLoss(1.25), **options)


def test_other_data_is_named_though_the_model_cannot_read_it(tmp_path):
    path = built(tmp_path)
    other = TensorDataset(TRAINING[0][:, :2], TRAINING[1])
    refused(path, "data", influence_src_dataset=other)


def test_the_sample_is_16_examples_and_a_change_elsewhere_is_not_noticed(tmp_path):
    inputs, targets = (torch.cat([part] * 10) for part in TRAINING)
    path = built(tmp_path, influence_src_dataset=TensorDataset(inputs, targets))
    losses = StoreFolder(path).read_manifest().binding["losses"]
    assert [len(row) for row in losses] == [16, 16]
    elsewhere, first = inputs.clone(), inputs.clone()
    elsewhere[1], first[0] = 0, 0
    GradientStore.open(path, make(influence_src_dataset=TensorDataset(elsewhere, targets)))
    refused(path, "data", influence_src_dataset=TensorDataset(first, targets))


def test_a_store_without_the_field_is_not_compared_in_it(tmp_path):
    path = built(tmp_path)
    manifest = StoreFolder(path).read_manifest()
    binding = {field: value for field, value in manifest.binding.items() if field != "losses"}
    # Shards know the binding by its digest, so this is a store of no shards.
    older = Manifest(binding, manifest.weights, batch_size=3, complete=True)
    (path / "manifest.json").write_bytes(older.to_bytes())
    assert len(GradientStore.open(path, make(model=model(kind=OtherForward)))) == 0


def test_rounding_is_no_difference_and_everything_else_is():
    def difference(stored, given):
        return different_loss(stored, given, tolerance=2e-3)

    assert difference([[1.0, 0.5]], [[1.001, 0.4991]]) is None
    assert difference([[3e-7]], [[5e-7]]) is None
    assert difference([], []) is None
    assert difference([[None, 1.0]], [[None, 1.0]]) is None
    assert difference([[1.0], [0.5]], [[1.0], [0.51]]) == (
        "most at checkpoint 1: 0.5 in the store and 0.51 here"
    )
    assert difference([[None]], [[1.0]]) == (
        "most at checkpoint 0: one that isn't finite in the store and 1 here"
    )
    assert difference([[1.0]], [[1.0, 1.0]]) == (
        "1 loss at 1 checkpoint in the store and 2 losses at 1 checkpoint here"
    )


class InfiniteForSome(nn.Module):
    """Adds what isn't finite and has no gradient to the losses of one class."""

    def forward(self, predictions, targets):
        return cross_entropy(predictions, targets) + torch.where(targets == 2, torch.inf, 0.0)


def test_losses_that_are_not_finite_are_null_in_the_manifest(tmp_path):
    path = built(tmp_path, loss_fn=InfiniteForSome())
    losses = json.loads((path / "manifest.json").read_bytes())["binding"]["losses"]
    assert [loss is None for loss in losses[0]] == (TRAINING[1] == 2).tolist()
    GradientStore.open(path, make(loss_fn=InfiniteForSome()))
