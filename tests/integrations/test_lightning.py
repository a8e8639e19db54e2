"""Real trainings by the Trainer of Lightning, recorded by the callback."""

import importlib
import sys
import types

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

pytest.importorskip("pytorch_lightning")
pytest.importorskip("sklearn")

import pytorch_lightning as pl

from headwater import (
    CheckpointSeries,
    InputError,
    MissingDependencyError,
    RecordingExistsError,
    TracInCP,
)
from headwater.integrations.lightning import RecordCheckpoints
from tests.estimators.small import cross_entropy
from tests.oracles import tracin

from .digits import IMAGES, LABELS, assert_recorded, seen

pytestmark = [
    pytest.mark.end_to_end,
    # Lightning's own use of PyTorch, and its advice on loaders.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*:UserWarning"),
]

DATA = TensorDataset(IMAGES, LABELS)


class Digits(pl.LightningModule):
    def __init__(self, *, dropout=0.0):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 10))
        self.losses = []

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        inputs, targets = batch
        loss = cross_entropy(self(inputs), targets).mean()
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.3)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + 0.1 * t))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class Watch(pl.Callback):
    """Keeps weights and rates at the moment that Lightning itself calls before the update."""

    def __init__(self):
        self.before = {}

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.before[trainer.global_step] = seen(pl_module, optimizer)


def train(tmp_path, callback, *, kind=Digits, resume=None, net=None, **options):
    torch.manual_seed(0)
    net, watch = kind() if net is None else net, Watch()
    trainer = pl.Trainer(
        **{
            "max_steps": 9,
            "accelerator": "cpu",
            "default_root_dir": tmp_path,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": [callback, watch],
            **options,
        }
    )
    trainer.fit(net, DataLoader(DATA, batch_size=10), ckpt_path=resume)
    return net, watch, trainer


def test_a_trainers_checkpoints_lead_to_self_influence(tmp_path):
    net, watch, _ = train(tmp_path, RecordCheckpoints(tmp_path / "run", every=2, keep=10))
    series = CheckpointSeries.open(tmp_path / "run")
    assert series.steps == [0, 2, 4, 6, 8]
    assert_recorded(series, watch.before)
    assert [rates[0] for rates in series.rates] == pytest.approx(
        [0.3 / (1 + 0.1 * t) for t in series.steps]
    )
    # A loss is told after its update.
    losses = [(net.losses[t - 2] + net.losses[t - 1]) / 2 for t in (2, 4, 6, 8)]
    assert series.losses == [None, *map(pytest.approx, losses)]

    chosen = series.recommend(3)
    suspicion = TracInCP(net, DATA, chosen, loss_fn=cross_entropy).influence()
    states = [(watch.before[c.step].state, c.rates[0]) for c in chosen]
    expected = tracin.self_influence(
        Digits().double(),
        [({k: v.double() for k, v in state.items()}, rate) for state, rate in states],
        lambda module, x: cross_entropy(module(x[0].double()[None]), x[1][None]),
        list(DATA),
        tracin.trainable_names(net),
    )
    torch.testing.assert_close(suspicion.double(), expected, rtol=1e-4, atol=1e-6)


def test_steps_are_updates_and_losses_whole_where_batches_are_accumulated(tmp_path):
    callback = RecordCheckpoints(tmp_path / "run", every=1)
    net, watch, _ = train(tmp_path, callback, accumulate_grad_batches=2, max_steps=3)
    series = CheckpointSeries.open(tmp_path / "run")
    assert series.steps == [0, 1, 2]
    assert_recorded(series, watch.before)
    # The first of two batches is told before the update, the second after it.
    assert series.losses[0] == pytest.approx(net.losses[0])
    assert series.losses[1] == pytest.approx((net.losses[1] + net.losses[2]) / 2)


def test_a_training_that_is_resumed_goes_on_and_a_new_one_does_not_mix_in(tmp_path):
    folder = tmp_path / "run"
    _, _, trainer = train(tmp_path, RecordCheckpoints(folder, every=2), max_steps=6)
    trainer.save_checkpoint(tmp_path / "six.ckpt")
    _, watch, _ = train(
        tmp_path,
        RecordCheckpoints(folder, every=2),
        resume=tmp_path / "six.ckpt",
    )
    series = CheckpointSeries.open(folder)
    assert series.steps == [0, 2, 4, 6, 8]
    assert_recorded(series[3:], watch.before)
    with pytest.raises(RecordingExistsError, match="overwrite=True"):
        train(tmp_path, RecordCheckpoints(folder, every=2))
    train(tmp_path, RecordCheckpoints(folder, every=2, overwrite=True), max_steps=1)
    assert CheckpointSeries.open(folder).steps == [0]


def test_a_training_that_fails_lets_the_folder_go(tmp_path):
    class Failing(Digits):
        def training_step(self, batch, index):
            if index == 3:
                raise KeyError("mine")
            return super().training_step(batch, index)

    callback = RecordCheckpoints(tmp_path / "run", every=1)
    with pytest.raises(KeyError, match="mine"):
        train(tmp_path, callback, kind=Failing)
    # What Lightning calls an update begins with the forward pass that failed.
    assert CheckpointSeries.open(tmp_path / "run").steps == [0, 1, 2, 3]
    train(tmp_path, RecordCheckpoints(tmp_path / "run", every=1, overwrite=True), max_steps=1)


def test_several_optimizers_are_refused(tmp_path):
    class Two(Digits):
        automatic_optimization = False

        def configure_optimizers(self):
            return [torch.optim.SGD(self.net[i].parameters(), lr=0.3) for i in (0, 3)]

    with pytest.raises(InputError, match="has 2 optimizers, and a recording follows one"):
        train(tmp_path, RecordCheckpoints(tmp_path / "run", every=1), kind=Two)


def test_only_the_first_process_records(tmp_path):
    trainer = types.SimpleNamespace(optimizers=[None], is_global_zero=False, global_step=0)
    callback = RecordCheckpoints(tmp_path / "run", every=1)
    callback.on_train_start(trainer, Digits())
    callback.on_train_batch_end(trainer, Digits(), torch.tensor(0.5), None, 0)
    callback.on_train_end(trainer, Digits())
    assert not (tmp_path / "run").exists()


def test_without_lightning_it_is_said_what_to_install(monkeypatch):
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "headwater.integrations.lightning")
    with pytest.raises(
        MissingDependencyError, match=r"Lightning.*pip install 'headwater\[lightning\]'"
    ):
        importlib.import_module("headwater.integrations.lightning")
