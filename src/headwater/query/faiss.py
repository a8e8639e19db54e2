"""faiss, which is optional."""

from __future__ import annotations

import importlib
from typing import Any

from headwater.errors import MissingDependencyError


def import_faiss() -> Any:
    """The module `faiss`.

    Raises:
        MissingDependencyError: it isn't installed.
    """
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise MissingDependencyError(
            "approximate search needs faiss, which isn't installed: pip install 'headwater[faiss]'"
        ) from error
