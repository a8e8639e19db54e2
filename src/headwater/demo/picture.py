"""A grey image as a PNG inside a URL, so that a page carries its pictures within itself."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def data_url(image: Float[Tensor, "1 height width"]) -> str:
    """Return a `data:` URL with the image in dark ink on white paper.

    Args:
        image: Grey values, 0 (paper) to 1 (ink).
    """
    return f"data:image/png;base64,{base64.b64encode(png(image)).decode('ascii')}"


def png(image: Float[Tensor, "1 height width"]) -> bytes:
    """Return the image as a PNG file with one byte per pixel.

    Source: PNG specification (third edition), sections 5 and 11.
    """
    shades = (255 * (1 - image.squeeze(0).clamp(0, 1))).round().to(torch.uint8)
    height, width = shades.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    # Every row begins with the number of its filter; 0 leaves the row as it is.
    rows = b"".join(b"\x00" + bytes(row) for row in shades.tolist())
    return (
        SIGNATURE
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows, level=9))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
