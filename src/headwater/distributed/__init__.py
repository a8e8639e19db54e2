"""Several processes on one job, in PyTorch's own process group."""

from headwater.distributed.exchange import Exchange, StartAnew
from headwater.distributed.ranks import Ranks, alone, present
from headwater.distributed.together import Together

__all__ = ["Exchange", "Ranks", "StartAnew", "Together", "alone", "present"]
