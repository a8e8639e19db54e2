"""Scores with names, a meaning, and ways into a table."""

from headwater.results.columns import Columns, Held
from headwater.results.meaning import TRACIN, Meaning, Wording
from headwater.results.names import Names
from headwater.results.scores import Scores
from headwater.results.top_scores import TopScores

__all__ = ["TRACIN", "Columns", "Held", "Meaning", "Names", "Scores", "TopScores", "Wording"]
