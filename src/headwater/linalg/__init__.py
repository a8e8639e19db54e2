"""Linear algebra that PyTorch doesn't have."""

from headwater.linalg.count_sketch import CountSketch, draw_count_sketch
from headwater.linalg.damped_gram import DampedGram, damped_gram, refuse_odd_damping
from headwater.linalg.gaussian import draw_gaussian

__all__ = [
    "CountSketch",
    "DampedGram",
    "damped_gram",
    "draw_count_sketch",
    "draw_gaussian",
    "refuse_odd_damping",
]
