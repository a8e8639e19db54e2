"""Is an estimator exact for a model, where is it slow, and what will it cost?"""

from headwater.check.by_checkpoint import CheckpointFacts, checkpoint_facts
from headwater.check.comparison import Exactness, exactness
from headwater.check.cost import Cost, measured_cost
from headwater.check.layers import Layers, layers_of

__all__ = [
    "CheckpointFacts",
    "Cost",
    "Exactness",
    "Layers",
    "checkpoint_facts",
    "exactness",
    "layers_of",
    "measured_cost",
]
