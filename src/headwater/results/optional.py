"""pandas and pyarrow, which are optional."""

from __future__ import annotations

import importlib
from typing import Any

from headwater.errors import MissingDependencyError


def import_optional(name: str, what: str) -> Any:
    """A module of the extra `tables`.

    Args:
        name: the module's.
        what: what it is needed for, as the beginning of a sentence.

    Raises:
        MissingDependencyError: it isn't installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise MissingDependencyError(
            f"{what} needs {package}, which isn't installed: pip install 'headwater[tables]'"
        ) from error
