"""Answers from blocks of scores."""

from headwater.query.all_scores import AllScores
from headwater.query.top_k import TopK

__all__ = ["AllScores", "TopK"]
