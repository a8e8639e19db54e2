"""A checkpoint file's content, read without running anything that is stored in it."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open

from headwater.checkpoints.recognise import is_pickle_or_zip, is_torchscript
from headwater.errors import CheckpointError, NoCheckpointsError, UnsafeCheckpointError

# An adapter first: no other weights in its folder were trained.
_SAVED_PRETRAINED = (
    "adapter_model.safetensors",
    "model.safetensors",
    "adapter_model.bin",
    "pytorch_model.bin",
)


def read_file(
    path: str | os.PathLike[str], device: torch.device, *, mapped: bool = False
) -> Mapping[object, object]:
    """What is stored in a checkpoint file, its tensors on `device`.

    A folder stands for the weights that Hugging Face's `save_pretrained` puts into one. Of a
    `.safetensors` file: {"model": tensors}, and "learning_rate" if its metadata has one.

    Args:
        path: of the file or folder.
        device: where the tensors are to be.
        mapped: whether they may lie in the mapped file, where that can be, so that only what is
            used of them is read.

    Raises:
        NoCheckpointsError: there is no such file.
        UnsafeCheckpointError: reading the file would mean running code that is stored in it.
        CheckpointError: the folder holds no such file, or the file is cut off, damaged, or of no
            known format.
    """
    path = Path(path)
    if path.is_dir():
        path = _weights_in(path)
    if not path.is_file():
        raise NoCheckpointsError(f"there is no file at checkpoint path {path}; expected a file")
    try:
        stored = _read(path, device, mapped=mapped)
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from error
    except (CheckpointError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        # Torch meets damage wherever it strikes: EOFError, KeyError, struct.error, RuntimeError.
        raise _damage(path, error) from error
    if not isinstance(stored, Mapping):
        raise CheckpointError(
            f"checkpoint {path} holds an object of type {type(stored).__name__}; expected a state "
            "dict: save model.state_dict()"
        )
    return stored


def _weights_in(folder: Path) -> Path:
    for name in _SAVED_PRETRAINED:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(
        f"checkpoint {folder} is a folder; expected a file, or what save_pretrained wrote, with "
        f"{' or '.join(_SAVED_PRETRAINED[:2])} in it (as one of a list; a folder of checkpoints is "
        "taken apart only when it is the whole `checkpoints` argument)"
    )


def _read(path: Path, device: torch.device, *, mapped: bool) -> object:
    if path.suffix == ".safetensors":
        return _read_safetensors(path, device)
    if is_torchscript(path):
        raise UnsafeCheckpointError(_unsafe(path, "it is a TorchScript archive, which holds code"))
    if mapped and zipfile.is_zipfile(path):
        found: object = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return found
    stored: object = torch.load(path, map_location=device, weights_only=True)
    return stored


def _read_safetensors(path: Path, device: torch.device) -> dict[object, object]:
    with safe_open(path, framework="pt", device=str(device)) as file:
        metadata = file.metadata() or {}
        stored: dict[object, object] = {"model": {k: file.get_tensor(k) for k in file.keys()}}  # noqa: SIM118
    if "learning_rate" in metadata:
        text = metadata["learning_rate"]
        try:
            stored["learning_rate"] = float(text)
        except ValueError:
            # Left as it is, to be refused with the checkpoint's name if it comes to be used.
            stored["learning_rate"] = text
    return stored


def _refusal(path: Path, error: pickle.UnpicklingError) -> CheckpointError:
    if not is_pickle_or_zip(path):
        return _damage(path, error)
    needed = re.search(r"GLOBAL (\S+)", str(error))
    if needed is not None:
        return UnsafeCheckpointError(_unsafe(path, f"it asks for {needed[1]}"))
    return UnsafeCheckpointError(
        _unsafe(path, "it holds more than tensors and plain containers, or is damaged")
    )


def _unsafe(path: Path, reason: str) -> str:
    return (
        f"checkpoint {path} was not read, because reading it could run code that is stored in it: "
        f"{reason}. Save only model.state_dict(), or a .safetensors file; if you trust the file, "
        "pass a checkpoints_load_func of your own that reads it"
    )


def _damage(path: Path, error: BaseException) -> CheckpointError:
    said = (str(error).splitlines() or [""])[0]
    return CheckpointError(
        f"checkpoint {path} can't be read: it is cut off, damaged, or was written neither by "
        f"torch.save nor as .safetensors ({type(error).__name__}: {said[:200]})"
    )
