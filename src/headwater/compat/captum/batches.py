"""What Captum takes as inputs: one batch, or a loader of batches, with labels last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from headwater.engine import TrainingData, WholeBatches
from headwater.errors import BatchError, CaptumArgumentError
from headwater.estimators.streamed import size_of_queries
from headwater.tasks.batch import borrow, describe

if TYPE_CHECKING:
    import torch

    from headwater.tasks import Task


def as_data(inputs: Any, *, order_matters: bool) -> TrainingData:
    """The examples of a batch or a loader.

    Args:
        inputs: `(features, ..., labels)`, or a loader of such batches.
        order_matters: whether a loader may not shuffle. What is summed over the examples of one
            that does is read once.

    Raises:
        CaptumArgumentError: `inputs` is None.
        BatchError: it is neither a batch nor a loader.
        ShuffledLoaderError: the loader shuffles, and the order matters.
    """
    if inputs is None:
        raise CaptumArgumentError(
            "inputs is None, and this method has no meaning without them: the argument is "
            "required. Self influence scores are what the method self_influence gives"
        )
    if isinstance(inputs, DataLoader):
        return TrainingData(inputs if order_matters else _loader(list(inputs)), "auto")
    if not isinstance(inputs, (tuple, list)):
        raise BatchError(
            f"inputs is {describe(inputs)}; expected a batch (features, ..., labels) as a tuple, "
            f"or a DataLoader of such batches"
        )
    return TrainingData(_loader([inputs]), "auto")


def as_queries(
    task: Task, inputs: Any, device: torch.device, *, order_matters: bool
) -> WholeBatches:
    """The same as queries, which go through the model in the batches that they come in.

    Args:
        task: what is differentiated for a query.
        device: where the model is.
        inputs, order_matters: see `as_data`, also for errors.

    Raises:
        BatchError: a batch doesn't tell how many queries it has, or there is none.
    """
    batches = list(as_data(inputs, order_matters=order_matters).batches(1))
    if not batches:
        raise BatchError("inputs is a loader without any batch; expected at least one query")
    sized = [
        (borrow(batch, device, copied=True), size_of_queries(task, batch)) for batch in batches
    ]
    return WholeBatches(task, sized)


def _loader(batches: list[Any]) -> DataLoader[Any]:
    # Each is a batch already, for the loader to hand on as it is.
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
