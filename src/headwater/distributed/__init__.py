"""Several processes on one job, in PyTorch's own process group."""

from headwater.distributed.exchange import Exchange
from headwater.distributed.ranks import Ranks, alone, present
from headwater.distributed.together import Together
from headwater.distributed.turns import StartAnew, Turns

__all__ = ["Exchange", "Ranks", "StartAnew", "Together", "Turns", "alone", "present"]
