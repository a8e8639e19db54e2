"""Answers from blocks of scores, and from vectors."""

from headwater.query.all_scores import AllScores
from headwater.query.column_sum import ColumnSum
from headwater.query.neighbours import (
    ExactNearestNeighbors,
    FaissNearestNeighbors,
    NearestNeighbors,
)
from headwater.query.top_k import TopK

__all__ = [
    "AllScores",
    "ColumnSum",
    "ExactNearestNeighbors",
    "FaissNearestNeighbors",
    "NearestNeighbors",
    "TopK",
]
