"""What may stand for a store, where a store stands in the place of training data."""

from __future__ import annotations

import os
from typing import Any


def names_store(source: Any) -> bool:
    """Whether training data is a store's folder or URL, or an open `GradientStore`."""
    # An open store is a path too, that of its folder.
    return isinstance(source, (str, os.PathLike))


def place_of(store: Any) -> str:
    """The folder or URL of what `names_store`, as text."""
    return str(os.fspath(store))
