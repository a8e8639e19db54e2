"""Captum speaks of losses by assertions: the engine's errors about them, as such."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headwater.errors import CaptumLossError, LossError
from headwater.tasks.loss import REMEDY

# Half of the classes take reduced losses only.
_REMEDY_HERE = "pass a loss_fn with reduction='sum'"


@contextmanager
def losses_are_asserted() -> Iterator[None]:
    """Within, or in a decorated function, a LossError is an AssertionError too.

    Raises:
        CaptumLossError: in the place of a LossError, with a remedy that all classes take.
    """
    try:
        yield
    except CaptumLossError:
        raise
    except LossError as error:
        raise CaptumLossError(str(error).replace(REMEDY, _REMEDY_HERE)) from error
