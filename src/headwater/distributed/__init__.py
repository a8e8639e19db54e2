"""Several processes on one job, in PyTorch's own process group."""

from headwater.distributed.exchange import Exchange
from headwater.distributed.in_step import InStep
from headwater.distributed.ranks import Ranks, alone, lost_rank, present
from headwater.distributed.sharded import (
    Gathered,
    class_name,
    dealt_like,
    is_sharded,
    own_part,
    parts_of,
    put,
    refuse_sharding,
    reshard,
    sharing_ranks,
    whole,
)
from headwater.distributed.together import Together
from headwater.distributed.turns import StartAnew, Turns

__all__ = [
    "Exchange",
    "Gathered",
    "InStep",
    "Ranks",
    "StartAnew",
    "Together",
    "Turns",
    "alone",
    "class_name",
    "dealt_like",
    "is_sharded",
    "lost_rank",
    "own_part",
    "parts_of",
    "present",
    "put",
    "refuse_sharding",
    "reshard",
    "sharing_ranks",
    "whole",
]
