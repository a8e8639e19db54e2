"""Training runs that are taken again, update by update."""

from headwater.replay.indexed import Indexed
from headwater.replay.player import Player
from headwater.replay.queries import Query, query_of
from headwater.replay.snapshot import Snapshot
from headwater.replay.training_run import TrainingRun

__all__ = ["Indexed", "Player", "Query", "Snapshot", "TrainingRun", "query_of"]
