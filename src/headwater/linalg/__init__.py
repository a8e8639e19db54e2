"""Linear algebra that PyTorch doesn't have."""

from headwater.linalg.count_sketch import CountSketch, draw_count_sketch

__all__ = ["CountSketch", "draw_count_sketch"]
