"""Linear algebra that PyTorch doesn't have."""

from headwater.linalg.count_sketch import CountSketch, draw_count_sketch
from headwater.linalg.counter_uniform import counter_uniform
from headwater.linalg.damped_gram import (
    DampedGram,
    damped_gram,
    damping_of,
    refuse_odd_damping,
)
from headwater.linalg.damped_kernel import DampedKernel, damped_kernel
from headwater.linalg.gaussian import draw_gaussian
from headwater.linalg.widest import widest

__all__ = [
    "CountSketch",
    "DampedGram",
    "DampedKernel",
    "counter_uniform",
    "damped_gram",
    "damped_kernel",
    "damping_of",
    "draw_count_sketch",
    "draw_gaussian",
    "refuse_odd_damping",
    "widest",
]
