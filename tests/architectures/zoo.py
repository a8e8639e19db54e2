"""The table of architectures that every method is held against."""

from .architecture import Architecture
from .convolutional import CONVOLUTIONAL
from .embedded import EMBEDDED
from .linear import LINEAR
from .normalised import NORMALISED
from .rearranged import REARRANGED
from .sequential import SEQUENTIAL
from .tied import TIED
from .unusual import UNUSUAL

ARCHITECTURES: list[Architecture] = [
    *LINEAR,
    *CONVOLUTIONAL,
    *NORMALISED,
    *EMBEDDED,
    *SEQUENTIAL,
    *TIED,
    *REARRANGED,
    *UNUSUAL,
]
BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES}
