"""Writes tests/recording/example_v1: python -m tests.recording.example"""

import shutil
from pathlib import Path

import torch
from torch import nn

from headwater import CheckpointRecorder

FOLDER = Path(__file__).parent / "example_v1"


def net() -> nn.Module:
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -2.0]]))
        layer.bias.zero_()
    return layer


def write(folder: Path) -> None:
    model = net()
    groups = [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.25}]
    optimizer = torch.optim.SGD(groups, lr=0.5, momentum=0.5)
    with CheckpointRecorder(folder, model, optimizer, every=2, moments=True) as recorder:
        for loss in (4.0, 3.0, 2.0):
            model.weight.grad, model.bias.grad = torch.ones(1, 2), torch.ones(1)
            recorder.note_loss(loss)
            optimizer.step()


if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    write(FOLDER)
    (FOLDER / ".lock").unlink(missing_ok=True)
