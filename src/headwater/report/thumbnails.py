"""Images as `data:` URLs, small enough for a page of thousands."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from headwater.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

# Of all thumbnails of a page together, as text.
BUDGET = 9_000_000
_EDGES = (128, 96, 64, 48, 32, 24, 16)
# Up to here PNG is smaller, and exact.
_SMALL = 32
_MEASURED = 40


@dataclass(frozen=True)
class Levels:
    """What is black and what is white in each channel."""

    low: Float[Tensor, " channels"]
    high: Float[Tensor, " channels"]

    @classmethod
    def of(cls, images: Sequence[Float[Tensor, "B channels height width"]]) -> Levels:
        """The levels of a dataset: those of 8 bits, or 0 and 1, where these fit, or its extremes.

        Images that were normalised by channel come back in about their own colours.
        """
        low = torch.stack([one.float().amin(dim=(0, 2, 3)) for one in images]).amin(dim=0)
        high = torch.stack([one.float().amax(dim=(0, 2, 3)) for one in images]).amax(dim=0)
        smallest, largest = float(low.min()), float(high.max())
        if smallest >= 0:
            top = next((top for top in (1.0, 16.0, 255.0) if largest <= top), largest)
            return cls(torch.zeros_like(low), torch.full_like(high, top))
        return cls(low, torch.where(high > low, high, low + 1))

    @classmethod
    def around(cls, found: Sequence[Levels]) -> Levels:
        """Those of a dataset, from those of its parts."""
        low = torch.stack([one.low for one in found]).amin(dim=0)
        high = torch.stack([one.high for one in found]).amax(dim=0)
        return cls(low, high)


def fitting_edge(images: Sequence[Tensor], count: int, levels: Levels) -> int:
    """The longest edge in pixels at which that many thumbnails fit a page.

    Args:
        images: some of them, (channels, height, width).
        count: of all.
        levels: of the dataset.
    """
    some = images[:: max(1, len(images) // _MEASURED)]
    largest = max((max(one.shape[-2:]) for one in some), default=1)
    for edge in _EDGES:
        size = sum(len(data_url(one, levels, edge)) for one in some) / max(1, len(some))
        if size * count <= BUDGET:
            return min(edge, largest)
    return min(_EDGES[-1], largest)


def data_url(image: Float[Tensor, "channels height width"], levels: Levels, edge: int) -> str:
    """An image of 1, 3 or 4 channels as a `data:` URL, shrunk to an edge of that many pixels."""
    picture = _pillow().fromarray(_bytes(image, levels))
    if max(picture.size) > edge:
        picture.thumbnail((edge, edge))
    kind = "PNG" if max(picture.size) <= _SMALL else "WEBP"
    file = io.BytesIO()
    picture.save(file, format=kind, **({"optimize": True} if kind == "PNG" else {"quality": 75}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _bytes(image: Tensor, levels: Levels) -> Any:
    spread = (levels.high - levels.low)[:, None, None]
    shades = (image.float() - levels.low[:, None, None]) / spread * 255
    pixels = shades.round().clamp(0, 255).to(torch.uint8)
    if len(pixels) == 1:
        return pixels[0].numpy()
    return pixels.permute(1, 2, 0).contiguous().numpy()


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError(
            "a report with images needs pillow, which isn't installed: "
            "pip install 'headwater[report]'"
        ) from error
    return Image
