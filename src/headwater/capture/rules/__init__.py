"""A rule per layer type; importing this package registers them all."""

from headwater.capture.rules import (
    convolution,
    embedding,
    linear,
    normalisation,
    rms_norm,
    transposed,
)

__all__ = ["convolution", "embedding", "linear", "normalisation", "rms_norm", "transposed"]
