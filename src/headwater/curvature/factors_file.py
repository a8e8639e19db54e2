"""Factors of curvature in a file: fitted once, and read by whoever asks of the same model and data.

One safetensors file. Its metadata has, under "headwater_factors", JSON: the format's version, what
the factors were made of, and by block the kind of its curvature and the names of its tensors.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from headwater.curvature.kronecker import Kronecker
from headwater.curvature.spectrum import DiagonalSpectrum, KroneckerSpectrum, Spectrum
from headwater.errors import CurvatureError, FactorsCorruptError, FactorsMismatchError
from headwater.files import put_in_place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from headwater.curvature.kronecker_fit import Spectra

_KEY = "headwater_factors"
_VERSION = 1

_DIFFERENCES = {
    "checkpoints": "the weights of the model differ",
    "selection": "the selected layers differ",
    "shapes": "the shapes of the selected parameters differ",
    "loss": "the loss differs",
    "data": "the training data (its length, or a sample of it) differs",
    "curvature": "the kind of curvature differs",
    "targets": "whose labels the gradients are of differs",
    "likelihood": "the likelihood differs",
    "draws": "the number of draws differs",
    "seed": "the seed of the drawn labels differs",
    "largest_factor": "the largest factor differs",
}


def refuse_place(path: Path) -> None:
    """Raises CurvatureError if no file can be written there."""
    if not path.parent.is_dir():
        raise CurvatureError(
            f"the factors can't be written to {path}: there is no folder {path.parent}; make it "
            f"first"
        )
    if not os.access(path.parent, os.W_OK):
        raise CurvatureError(
            f"the factors can't be written to {path}: no file can be made in {path.parent}"
        )


def write_factors(path: Path, spectra: Spectra, binding: Mapping[str, Any]) -> None:
    """Writes the file; it is whole, or as it was before.

    Args:
        path: of the file, in a folder that exists.
        spectra: by block.
        binding: what they were made of, ready for JSON.

    Raises:
        CurvatureError: it can't be written.
    """
    tensors: dict[str, Tensor] = {}
    blocks = []
    for place, (block, spectrum) in enumerate(spectra.items()):
        told: dict[str, Any] = {"block": list(block)}
        tensors[f"{place}.eigenvalues"] = spectrum.eigenvalues
        if isinstance(spectrum, KroneckerSpectrum):
            tensors[f"{place}.by_input"] = spectrum.by_input
            tensors[f"{place}.by_output"] = spectrum.by_output
            kind = spectrum.kind
            told["kronecker"] = {
                "groups": kind.groups,
                "fan_out": kind.fan_out,
                "fan_in": kind.fan_in,
                "bias": kind.bias,
                "layout": kind.layout,
            }
        blocks.append(told)
    contents = {"version": _VERSION, "binding": dict(binding), "blocks": blocks}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata={_KEY: json.dumps(contents)},
        )
        put_in_place(temporary, path)
    except (OSError, SafetensorError) as error:
        raise CurvatureError(f"the factors can't be written to {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_factors(path: Path, binding: Mapping[str, Any], device: torch.device) -> Spectra:
    """The spectra in a file, for whoever has this binding.

    Raises:
        FactorsMismatchError: they were made of something else.
        FactorsCorruptError: the file is damaged, no file of factors, or of a later version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            contents = json.loads(metadata.get(_KEY, "null"))
            if not isinstance(contents, dict) or contents.get("version") != _VERSION:
                raise FactorsCorruptError(
                    f"{path} is no file of factors of version {_VERSION}; give another path, or "
                    f"remove it to have them fitted anew"
                )
            _refuse_mismatch(path, contents["binding"], binding)
            return {
                tuple(told["block"]): _spectrum(told, place, file, device)
                for place, told in enumerate(contents["blocks"])
            }
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, CurvatureError):
            raise
        raise FactorsCorruptError(
            f"the factors in {path} can't be read ({error}); remove the file to have them fitted "
            f"anew"
        ) from error


def _spectrum(told: dict[str, Any], place: int, file: Any, device: torch.device) -> Spectrum:
    def tensor(name: str) -> Tensor:
        found: Tensor = file.get_tensor(f"{place}.{name}").to(device)
        return found

    eigenvalues = tensor("eigenvalues")
    if "kronecker" not in told:
        return DiagonalSpectrum(eigenvalues)
    kind = Kronecker(**told["kronecker"])
    by_input, by_output = tensor("by_input"), tensor("by_output")
    shapes = (
        (kind.groups, kind.columns, kind.columns),
        (kind.groups, kind.fan_out, kind.fan_out),
        (kind.groups, kind.fan_out, kind.columns),
    )
    found = tuple(tuple(one.shape) for one in (by_input, by_output, eigenvalues))
    if found != shapes:
        raise ValueError(f"block {told['block']} has tensors of shapes {found}, not {shapes}")
    return KroneckerSpectrum(kind, by_input, by_output, eigenvalues)


def _refuse_mismatch(path: Path, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for field in [*given, *(key for key in stored if key not in given)]:
        old, new = stored.get(field), given.get(field)
        if old != new:
            differ = _DIFFERENCES.get(field, f"{field} differs")
            raise FactorsMismatchError(
                f"the factors in {path} were made of something else, field {field!r}: {differ}: "
                f"{old} in the file and {new} here. Give another path, or remove the file to have "
                f"them fitted anew"
            )
