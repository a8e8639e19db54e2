"""The `checkpoints` argument in Captum's order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from headwater.checkpoints import default_checkpoints_load_func
from headwater.checkpoints.folder import natural_key
from headwater.checkpoints.source import open_source
from headwater.errors import NoCheckpointsError


def checkpoint_list(checkpoints: Any, load_func: Any) -> list[Any]:
    """The checkpoints, so that they can be visited again; texts in natural order.

    Args:
        checkpoints: a folder, or an iterable of paths or of whatever `load_func` understands.
        load_func: what loads them. One of the user's own may read files of any format.

    Raises:
        NoCheckpointsError: there is none.
    """
    source: Iterable[Any]
    if isinstance(checkpoints, (str, Path)):
        any_format = load_func is not default_checkpoints_load_func
        return list(open_source(checkpoints, any_format=any_format, rates_given=False).items)
    source = checkpoints if isinstance(checkpoints, list) else list(checkpoints)
    if not source:
        raise NoCheckpointsError(
            f"invalid checkpoints: {checkpoints!r} has none; expected a folder, or at least one"
        )
    if isinstance(checkpoints, list) and all(isinstance(item, str) for item in checkpoints):
        # Only the columns of `compute_intermediate_quantities` show the order; it is Captum's.
        return sorted(checkpoints, key=natural_key)
    return list(source)
