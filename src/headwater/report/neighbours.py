"""Near-duplicates under another label: examples alike, of which one label must be wrong."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int
    from torch import Tensor

# Pieces of a text are counted in this many places; two pieces share one now and then.
_PLACES = 1024
_PIECE = 4
# Numbers in a block of comparisons.
_NUMBERS = 2**25
# Texts that share four fifths of their pieces read as the same one.
TEXTS_ALIKE = 0.8
IMAGES_ALIKE = 0.9
# Else, closer than 19 of 20 examples are to their nearest one.
CLOSE = 0.95


def text_vectors(texts: Sequence[str]) -> Float[Tensor, "N D"]:
    """Texts as unit vectors of their pieces of four characters, for their cosine."""
    vectors = torch.zeros(len(texts), _PLACES)
    for row, text in zip(vectors, texts, strict=True):
        plain = f" {' '.join(text.lower().split())} "
        pieces = [plain[i : i + _PIECE] for i in range(max(1, len(plain) - _PIECE + 1))]
        places = torch.tensor([zlib.crc32(piece.encode()) % _PLACES for piece in pieces])
        row += torch.bincount(places, minlength=_PLACES).sqrt()
    return torch.nn.functional.normalize(vectors, dim=1)


def image_vectors(features: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
    """Images as unit vectors of what they have beyond the mean image, for their cosine."""
    return torch.nn.functional.normalize(features - features.mean(dim=0), dim=1)


def row_vectors(features: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
    """Rows with every column scaled to a spread of 1."""
    spread = features.std(dim=0, unbiased=False).clamp_min(1e-12)
    return (features - features.mean(dim=0)) / spread


def near_duplicates(
    vectors: Float[Tensor, "N D"],
    labels: Int[Tensor, " N"],
    places: Int[Tensor, " M"],
    *,
    kind: str,
) -> list[int | None]:
    """By example, the nearest one with another label, where that is near; else None.

    Args:
        vectors: of all examples.
        labels: of all examples.
        places: the examples to look for.
        kind: "text", "images" or "rows": what near means.
    """
    nearest, nearest_other, found = [], [], []
    rows = max(1, _NUMBERS // max(1, len(vectors)))
    for start in range(0, len(places), rows):
        some = places[start : start + rows]
        alike = _alike(vectors[some], vectors, kind)
        alike[torch.arange(len(some)), some] = -torch.inf
        nearest.append(alike.max(dim=1).values)
        alike[labels[some][:, None] == labels[None]] = -torch.inf
        best = alike.max(dim=1)
        nearest_other.append(best.values)
        found.append(best.indices)
    if not found:
        return []
    alike_any, alike_other = torch.cat(nearest), torch.cat(nearest_other)
    enough = _enough(alike_any, kind)
    near = (alike_other >= enough) & torch.isfinite(alike_other)
    return [
        place if is_near else None
        for place, is_near in zip(torch.cat(found).tolist(), near.tolist(), strict=True)
    ]


def _enough(alike: Float[Tensor, " M"], kind: str) -> float:
    if kind == "text":
        return TEXTS_ALIKE
    usual = float(torch.quantile(alike[:100_000], CLOSE))
    return max(usual, IMAGES_ALIKE) if kind == "images" else usual


def _alike(
    some: Float[Tensor, "M D"], vectors: Float[Tensor, "N D"], kind: str
) -> Float[Tensor, "M N"]:
    return -torch.cdist(some, vectors) if kind == "rows" else some @ vectors.T
