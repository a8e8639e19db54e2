"""Real trainings by the Trainer of transformers, recorded by the callback."""

import importlib
import sys
import types

import pytest
import torch
from torch import nn

pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytest.importorskip("sklearn")

from transformers import Trainer, TrainerCallback, TrainingArguments

from headwater import (
    CheckpointSeries,
    HeadwaterWarning,
    MissingDependencyError,
    RecordingExistsError,
    TracInCP,
)
from headwater.integrations.huggingface import RecordCheckpoints
from headwater.tasks import SequenceClassification
from tests.oracles import tracin

from .digits import IMAGES, LABELS, assert_recorded, seen

pytestmark = pytest.mark.end_to_end


class Digits(nn.Module):
    """A model in the style of Hugging Face, without a language in it."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(64, 8)
        self.head = nn.Linear(8, 10)

    def forward(self, pixels, labels=None):
        logits = self.head(torch.tanh(self.hidden(pixels)))
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


EXAMPLES = [
    {"pixels": pixels, "labels": int(label)} for pixels, label in zip(IMAGES, LABELS, strict=True)
]


class Watch(TrainerCallback):
    """Keeps weights and rates at the moment that the Trainer itself calls before the update."""

    def __init__(self):
        self.before = {}
        self.losses = {}

    def on_pre_optimizer_step(self, args, state, control, *, model, optimizer, **_):
        self.before[state.global_step] = seen(model, optimizer)

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" in logs:
            self.losses[state.global_step] = logs["loss"]


def train(tmp_path, callback, *, resume=False, **options):
    torch.manual_seed(0)
    net, watch = Digits(), Watch()
    settings = {
        "max_steps": 9,
        "per_device_train_batch_size": 10,
        "learning_rate": 0.3,
        "weight_decay": 0.0,
        "optim": "sgd",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
    }
    arguments = TrainingArguments(tmp_path / "out", **{**settings, **options})
    trainer = Trainer(net, arguments, train_dataset=EXAMPLES, callbacks=[callback, watch])
    trainer.train(resume_from_checkpoint=resume)
    return net, watch


def test_a_trainers_checkpoints_lead_to_self_influence(tmp_path):
    net, watch = train(tmp_path, RecordCheckpoints(tmp_path / "run", every=2, keep=10))
    series = CheckpointSeries.open(tmp_path / "run")
    assert series.steps == [0, 2, 4, 6, 8]
    assert_recorded(series, watch.before)
    # The schedule of the Trainer: linearly to zero.
    assert [rates[0] for rates in series.rates] == pytest.approx(
        [0.3 * (1 - t / 9) for t in series.steps]
    )
    # A loss is logged after its update.
    losses = [(watch.losses[t - 1] + watch.losses[t]) / 2 for t in (2, 4, 6, 8)]
    assert series.losses == [None, *map(pytest.approx, losses)]

    chosen = series.recommend(3)
    suspicion = TracInCP(net, EXAMPLES, chosen, task=SequenceClassification()).influence()
    states = [(watch.before[c.step].state, c.rates[0]) for c in chosen]
    expected = tracin.self_influence(
        Digits().double(),
        [({k: v.double() for k, v in state.items()}, rate) for state, rate in states],
        lambda module, x: module(x["pixels"].double()[None], torch.tensor([x["labels"]]))["loss"],
        EXAMPLES,
        tracin.trainable_names(net),
    )
    torch.testing.assert_close(suspicion.double(), expected, rtol=1e-4, atol=1e-6)


def test_steps_are_updates_where_batches_are_accumulated(tmp_path):
    callback = RecordCheckpoints(tmp_path / "run", every=1)
    _, watch = train(tmp_path, callback, gradient_accumulation_steps=2, max_steps=3)
    series = CheckpointSeries.open(tmp_path / "run")
    assert series.steps == [0, 1, 2]
    assert_recorded(series, watch.before)


def test_a_training_that_is_resumed_goes_on_and_a_new_one_does_not_mix_in(tmp_path):
    folder, saving = tmp_path / "run", {"save_strategy": "steps", "save_steps": 3}
    train(tmp_path, RecordCheckpoints(folder, every=2), max_steps=5, **saving)
    assert CheckpointSeries.open(folder).steps == [0, 2, 4]
    # From the Trainer's checkpoint of step 3: step 4 is taken anew.
    last = str(tmp_path / "out" / "checkpoint-3")
    _, watch = train(tmp_path, RecordCheckpoints(folder, every=2), max_steps=7, resume=last)
    series = CheckpointSeries.open(folder)
    assert series.steps == [0, 2, 4, 6]
    assert_recorded(series[2:], watch.before)
    with pytest.raises(RecordingExistsError, match="overwrite=True"):
        train(tmp_path, RecordCheckpoints(folder, every=2))
    train(tmp_path, RecordCheckpoints(folder, every=2, overwrite=True), max_steps=1)
    assert CheckpointSeries.open(folder).steps == [0]


def test_adamw_is_the_trainers_default_and_is_warned_of(tmp_path):
    callback = RecordCheckpoints(tmp_path / "run", every=2, moments=True)
    train(tmp_path, callback, max_steps=3, optim="adamw_torch", weight_decay=0.01)
    with pytest.warns(HeadwaterWarning, match="AdamW scales each coordinate"):
        series = CheckpointSeries.open(tmp_path / "run")
    assert series[1].moments()["exp_avg_sq"]["head.weight"].shape == (10, 8)


def test_only_the_first_process_records(tmp_path):
    state = types.SimpleNamespace(is_world_process_zero=False, global_step=0)
    callback = RecordCheckpoints(tmp_path / "run", every=1)
    callback.on_train_begin(None, state, None, model=Digits(), optimizer=None)
    callback.on_log(None, state, None, logs={"loss": 0.5})
    callback.on_train_end(None, state, None)
    assert not (tmp_path / "run").exists()


def test_without_transformers_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "headwater.integrations.huggingface")
    with pytest.raises(
        MissingDependencyError, match=r"transformers.*pip install 'headwater\[hf\]'"
    ):
        importlib.import_module("headwater.integrations.huggingface")
