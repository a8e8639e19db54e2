"""A stand-in per layer type whose parameters are used deep inside it; importing registers all."""

from headwater.capture.stand_ins import attention, cells, lookup, recurrent, relative_bias

__all__ = ["attention", "cells", "lookup", "recurrent", "relative_bias"]
