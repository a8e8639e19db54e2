"""Captum speaks of losses by assertions: the engine's errors about them, as such."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headwater.errors import CaptumLossError, LossError


@contextmanager
def losses_are_asserted() -> Iterator[None]:
    """Within, or in a decorated function, a LossError is an AssertionError too.

    Raises:
        CaptumLossError: in the place of a LossError, with its message.
    """
    try:
        yield
    except CaptumLossError:
        raise
    except LossError as error:
        raise CaptumLossError(*error.args) from error
