"""A recorded training without end, for processes that are killed."""

import torch

from headwater import CheckpointRecorder
from tests.estimators.small import cross_entropy, model
from tests.recording.training import batches, falling, sgd

ENDLESS = 100_000
KEEP = 6


def training(say, folder, overwrite=False):
    """Says when it comes to a step."""
    net = model().train()
    optimizer = sgd(net)
    schedule = falling(optimizer)
    torch.manual_seed(5)
    with CheckpointRecorder(
        folder, net, optimizer, every=1, keep=KEEP, moments=True, overwrite=overwrite
    ) as recorder:
        for step in range(ENDLESS):
            ((inputs, targets),) = batches(1, first=step)
            say()
            optimizer.zero_grad()
            loss = cross_entropy(net(inputs), targets).mean()
            loss.backward()
            recorder.note_loss(loss)
            optimizer.step()
            schedule.step()
