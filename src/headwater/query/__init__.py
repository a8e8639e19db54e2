"""Answers from blocks of scores, and from vectors."""

from headwater.query.all_scores import AllScores
from headwater.query.column_sum import ColumnSum
from headwater.query.group_sums import GroupSums
from headwater.query.grouped_rows import GroupedRows
from headwater.query.neighbours import (
    ExactNearestNeighbors,
    FaissNearestNeighbors,
    NearestNeighbors,
)
from headwater.query.several import Several
from headwater.query.top_k import Side, TopK

__all__ = [
    "AllScores",
    "ColumnSum",
    "ExactNearestNeighbors",
    "FaissNearestNeighbors",
    "GroupSums",
    "GroupedRows",
    "NearestNeighbors",
    "Several",
    "Side",
    "TopK",
]
