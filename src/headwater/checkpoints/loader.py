"""The default loader: a file or a state in memory into the model, and its learning rate."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeGuard

import torch
from torch import nn

from headwater.checkpoints.contents import Contents, find_contents
from headwater.checkpoints.naming import full_name
from headwater.checkpoints.rates import HOW_TO_GIVE_RATES, as_rate, is_number
from headwater.checkpoints.reading import read_file
from headwater.checkpoints.recording.checkpoint import RecordedCheckpoint
from headwater.checkpoints.recording.selected import one_rate
from headwater.checkpoints.state import load_state
from headwater.distributed import is_sharded
from headwater.errors import CheckpointError, HeadwaterWarning

RATE_WITHOUT_ANY = 1.0


def default_checkpoints_load_func(model: nn.Module, checkpoint: object) -> float:
    """Load a checkpoint into the model; the learning rate comes back.

    Args:
        model: gets the checkpoint's numbers in its own tensors.
        checkpoint: a file of `torch.save` or a `.safetensors` file, by path, or a folder that
            `save_pretrained` of transformers or PEFT wrote; a state dict; or a (path or state,
            learning rate) pair. File and state may be a plain state dict, also
            with an additional "learning_rate", or a mapping with a state dict under "model",
            "state_dict" or "model_state_dict", next to "learning_rate". A `.safetensors` file has
            "learning_rate" in its metadata. Prefixes that DataParallel, DDP and torch.compile
            put before keys are seen through. Or one checkpoint of a `CheckpointSeries`.

    Returns:
        The pair's rate, or else the file's; 1.0, with a warning, if there is none.

    Raises:
        NoCheckpointsError: there is no such file.
        UnsafeCheckpointError: the file holds more than `torch.load(weights_only=True)` reads.
        CheckpointMismatchError: the checkpoint is of another architecture.
        LearningRateError: the rate isn't a finite number of at least 0.
        CheckpointError: the file is damaged, or the checkpoint of a kind that isn't read.
    """
    name = full_name(checkpoint)
    contents = read_contents(model, checkpoint, name)
    if isinstance(checkpoint, RecordedCheckpoint):
        trained = [key for key, p in model.named_parameters() if p.requires_grad]
        contents = replace(contents, rate=one_rate(checkpoint, trained, name))
    rate = stored_rate(contents, name)
    load_state(model, contents.state, name)
    if rate is None:
        warnings.warn(missing_rate(contents, name), HeadwaterWarning, stacklevel=2)
        return RATE_WITHOUT_ANY
    return rate


def read_contents(model: nn.Module, checkpoint: object, name: str) -> Contents:
    """What the checkpoint holds; nothing is loaded into the model yet."""
    if is_pair(checkpoint):
        return replace(read_contents(model, checkpoint[0], name), rate=checkpoint[1])
    if isinstance(checkpoint, str | os.PathLike):
        # Of a sharded model a rank reads its own rows only.
        checkpoint = read_file(checkpoint, _device(model), mapped=is_sharded(model))
    if isinstance(checkpoint, Mapping):
        return find_contents(checkpoint, model.state_dict().keys(), name)
    hint = ""
    if isinstance(checkpoint, nn.Module):
        hint = "; pass a copy of its state: copy.deepcopy(model.state_dict())"
    elif is_number(checkpoint):
        hint = "; a pair of checkpoint and rate is a tuple within the list: [(path, 0.1)]"
    raise CheckpointError(
        f"{name} is of type {type(checkpoint).__name__}; expected a path, a state dict, or a "
        f"(path or state dict, learning rate) pair{hint}"
    )


def is_pair(checkpoint: object) -> TypeGuard[tuple[object, object]]:
    """Whether it is a 2-tuple of a checkpoint and a real number."""
    return isinstance(checkpoint, tuple) and len(checkpoint) == 2 and is_number(checkpoint[1])


def in_memory(checkpoint: object) -> bool:
    """Whether the checkpoint's tensors are the caller's, not read from a file."""
    return isinstance(checkpoint[0] if is_pair(checkpoint) else checkpoint, Mapping)


def stored_rate(contents: Contents, name: str) -> float | None:
    """The rate that came with the checkpoint, checked; None if there is none."""
    return None if contents.rate is None else as_rate(contents.rate, f"{name} has")


def missing_rate(contents: Contents, name: str) -> str:
    """The message that there is no rate, what was assumed, and how to give one."""
    hint = ""
    if contents.optimizer_rates:
        values = ", ".join(f"{rate:g}" for rate in contents.optimizer_rates)
        hint = f" (its optimizer state has lr {values}, which is not used)"
    return (
        f"{name} has no learning rate, and scores weigh each checkpoint by it; "
        f"{RATE_WITHOUT_ANY} is assumed{hint}. To give rates, {HOW_TO_GIVE_RATES}"
    )


def _device(model: nn.Module) -> torch.device:
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    # A model that is spread over devices takes its parts from the one place that all can copy from.
    return devices.pop() if len(devices) == 1 else torch.device("cpu")
