"""Linear algebra that PyTorch doesn't have."""

from headwater.linalg.count_sketch import CountSketch, draw_count_sketch
from headwater.linalg.counter_uniform import counter_uniform
from headwater.linalg.widest import widest

__all__ = ["CountSketch", "counter_uniform", "draw_count_sketch", "widest"]
