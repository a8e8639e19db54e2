"""What in a batch is the example itself, and of which kind it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, interpolate

from headwater.errors import InputError
from headwater.tasks.batch import leaves

if TYPE_CHECKING:
    from jaxtyping import Float

_NAMED = ("pixel_values", "input_ids", "inputs_embeds")
_CHANNELS = (1, 3, 4)
# Pixels along an edge, and numbers in a row, of what is compared to find near-duplicates.
_EDGE = 16
_WIDTH = 256


def first_tensor(batch: Any) -> Tensor | None:
    """The model's first input, on the CPU; None where there is no tensor."""
    if isinstance(batch, Mapping):
        named = (batch.get(name) for name in _NAMED)
        chosen = next((one for one in named if isinstance(one, Tensor)), None)
        if chosen is not None:
            return chosen.detach().cpu()
    elif isinstance(batch, (tuple, list)) and len(batch) > 1:
        batch = batch[:-1]
    found = (leaf for leaf in leaves(batch) if isinstance(leaf, Tensor) and leaf.dim() > 0)
    first = next(found, None)
    return None if first is None else first.detach().cpu()


def kind_of(part: Tensor) -> Literal["images", "rows"]:
    """What inputs of this shape most likely are."""
    if part.dim() == 4 and (part.shape[1] in _CHANNELS or part.shape[3] in _CHANNELS):
        return "images"
    if part.dim() == 3 and min(part.shape[1:]) > max(_CHANNELS):
        return "images"
    return "rows"


def as_images(part: Tensor) -> Float[Tensor, "B channels height width"]:
    """Inputs as images.

    Raises:
        InputError: they can't be.
    """
    if part.dim() == 2 and isqrt(part.shape[1]) ** 2 == part.shape[1]:
        edge = isqrt(part.shape[1])
        return part.reshape(len(part), 1, edge, edge)
    if part.dim() == 3:
        return part[:, None]
    if part.dim() == 4 and part.shape[1] in _CHANNELS:
        return part
    if part.dim() == 4 and part.shape[3] in _CHANNELS:
        return part.permute(0, 3, 1, 2)
    raise InputError(
        f"kind is 'images', and a batch of inputs has shape {tuple(part.shape)}; expected (B, H, "
        f"W), or 1, 3 or 4 channels before or after height and width, or squares as flat rows"
    )


def pooled_image(images: Tensor) -> Float[Tensor, "B D"]:
    """Images as 16 x 16 grey values."""
    grey = images.float().mean(dim=1, keepdim=True)
    height, width = (min(_EDGE, size) for size in grey.shape[-2:])
    small = adaptive_avg_pool2d(grey, (height, width))
    return interpolate(small, (_EDGE, _EDGE)).flatten(1)


def pooled_row(rows: Tensor) -> Float[Tensor, "B D"]:
    """Rows as they are, or as 256 means of neighbouring numbers where they are longer."""
    numbers = rows.float()
    if numbers.shape[1] <= _WIDTH:
        return numbers
    return adaptive_avg_pool1d(numbers[:, None], _WIDTH)[:, 0]


def texts_in(rows: Sequence[Any] | None) -> list[str] | None:
    """The texts in rows that are dicts: of the column "text", or of all that hold texts."""
    if not rows or not isinstance(rows[0], Mapping):
        return None
    names = [name for name, value in rows[0].items() if isinstance(value, str)]
    names = ["text"] if "text" in names else names
    if not names:
        return None
    return ["\n".join(str(row[name]) for name in names) for row in rows]


def texts_of_tokens(part: Tensor, decode: Any) -> list[str] | None:
    """Rows of ids of tokens as texts, or as ids one after the other; None where they are none."""
    if part.dim() != 2 or part.dtype not in (torch.int64, torch.int32):
        return None
    return [str(decode(row)) if decode else " ".join(map(str, row)) for row in part.tolist()]
