"""Approximate search of stored vectors by faiss: few candidates, ranked anew from the store."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from headwater.query.faiss import import_faiss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Float, Int
    from torch import Tensor

# Below this a search of everything is as fast as any.
_SMALL = 4096
# Vectors per list that the lists' centres are trained on.
_TRAINED_ON = 64


class ApproximateSearch:
    """An inverted file over the vectors of a store, in memory, in float16.

    Args:
        vectors: gives all vectors, in pieces, each time it is called.
        count: how many there are, N.
        dim: their length, D.

    Raises:
        MissingDependencyError: faiss isn't installed.
    """

    def __init__(
        self, vectors: Callable[[], Iterator[Float[Tensor, "n D"]]], count: int, dim: int
    ) -> None:
        faiss = import_faiss()
        lists = max(1, min(round(4 * math.sqrt(count)), count // _TRAINED_ON))
        factory = "Flat" if count <= _SMALL else f"IVF{lists},SQfp16"
        self._index: Any = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
        if not self._index.is_trained:
            self._index.train(_sample(vectors(), count, lists * _TRAINED_ON).numpy())
            self._index.nprobe = max(8, lists // 16)
        for piece in vectors():
            self._index.add(piece.float().contiguous().numpy())

    def candidates(self, queries: Float[Tensor, "Q D"], count: int) -> Int[Tensor, " M"]:
        """The places of the likely `count` largest products of any query, ascending."""
        _, found = self._index.search(queries.float().contiguous().numpy(), count)
        places: Tensor = torch.from_numpy(found).unique()
        # -1 stands where fewer were found.
        return places[places >= 0]


def _sample(pieces: Iterator[Tensor], count: int, size: int) -> Float[Tensor, "n D"]:
    """Vectors at even distances."""
    step = max(1, count // size)
    kept, start = [], 0
    for piece in pieces:
        kept.append(piece[-start % step :: step].float())
        start += len(piece)
    return torch.cat(kept)
