"""Searching the vectors with the largest dot products: the contract, and the exact search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch

from headwater.query.faiss import import_faiss
from headwater.query.top_k import TopK

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

# Vectors whose products with the queries are taken at a time.
_ROWS = 65_536


class NearestNeighbors(ABC):
    """What finds the vectors of training examples with the largest dot products.

    Write your own for another library: any object with these two methods will do.
    """

    @abstractmethod
    def setup(self, data: Float[Tensor, "N D"]) -> None:
        """Takes the vectors of all training examples, in their order."""

    @abstractmethod
    def get_nearest_neighbors(
        self, query: Float[Tensor, "Q D"], k: int
    ) -> tuple[Int[Tensor, "Q K"], Float[Tensor, "Q K"]]:
        """For each query the k largest dot products, largest first: places, and products."""


class ExactNearestNeighbors(NearestNeighbors):
    """All products, block by block; ties go to the lower place. Memory Q * (k + a block)."""

    def setup(self, data: Float[Tensor, "N D"]) -> None:
        self._data = data

    def get_nearest_neighbors(
        self, query: Float[Tensor, "Q D"], k: int
    ) -> tuple[Int[Tensor, "Q K"], Float[Tensor, "Q K"]]:
        top = TopK(len(query), k=k, side="proponents")
        for start in range(0, len(self._data), _ROWS):
            block = self._data[start : start + _ROWS]
            top.add(start, query @ block.mT.to(query.dtype))
        indices, scores = top.result()
        return indices, scores.to(query.dtype)


class FaissNearestNeighbors(NearestNeighbors):
    """Approximate search by faiss (`pip install 'headwater[faiss]'`), in float32.

    Args:
        factory: the index, in the words of `faiss.index_factory`: "HNSW32", "IVF256,Flat", "Flat".

    Raises:
        MissingDependencyError: faiss isn't installed.
    """

    def __init__(self, factory: str = "HNSW32") -> None:
        self._faiss = import_faiss()
        self._factory = factory

    def setup(self, data: Float[Tensor, "N D"]) -> None:
        vectors = data.to(torch.float32).contiguous().numpy()
        self._index = self._faiss.index_factory(
            vectors.shape[1], self._factory, self._faiss.METRIC_INNER_PRODUCT
        )
        if not self._index.is_trained:
            self._index.train(vectors)
        self._index.add(vectors)

    def get_nearest_neighbors(
        self, query: Float[Tensor, "Q D"], k: int
    ) -> tuple[Int[Tensor, "Q K"], Float[Tensor, "Q K"]]:
        vectors = query.to(torch.float32).contiguous().numpy()
        scores, indices = self._index.search(vectors, k)
        return torch.from_numpy(indices), torch.from_numpy(scores).to(query.dtype)
