"""What the classes have in common: arguments, and two questions."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from headwater.checkpoints import default_checkpoints_load_func
from headwater.compat.captum.checkpoints import checkpoint_list
from headwater.errors import CaptumArgumentError, InputError
from headwater.estimators import DataInfluence
from headwater.estimators.misplaced import refuse_misplaced_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from headwater.estimators import KMostInfluentialResults


class TracInCPBase(DataInfluence):
    """The arguments of Captum's classes, as attributes that can be read, not set.

    Args:
        model: the model. It is borrowed: after every call, also one that raised, it is as before.
        train_dataset: the training examples: a Dataset, or a DataLoader that doesn't shuffle. A
            batch is a tuple or list; `model(*batch[:-1])` are the predictions and `batch[-1]` the
            labels.
        checkpoints: a folder, or an iterable of paths or of whatever `checkpoints_load_func`
            understands; a list of texts is put in natural order. All are held.
        checkpoints_load_func: loads a checkpoint into the model and returns its learning rate.
        loss_fn: `(predictions, labels) -> losses`, for training examples; what it has to return
            is said by the classes.
        batch_size: examples per batch of a Dataset. Results don't depend on it; the more fit, the
            faster.
        test_loss_fn: the same for queries; None takes `loss_fn`.

    Raises:
        CaptumArgumentError: `train_dataset` is a Dataset and `batch_size` no int.
        NoCheckpointsError: there is no checkpoint.
        InputError: another argument is of the wrong kind.
    """

    _ARGUMENTS = frozenset(
        {
            "model",
            "final_fc_layer",
            "train_dataloader",
            "checkpoints",
            "checkpoints_load_func",
            "layers",
            "loss_fn",
            "batch_size",
            "test_loss_fn",
            "sample_wise_grads_per_batch",
            "vectorize",
            "nearest_neighbors",
            "projection_dim",
            "seed",
        }
    )

    def __init__(
        self,
        model: nn.Module,
        train_dataset: Any,
        checkpoints: Any,
        checkpoints_load_func: Callable[[nn.Module, Any], Any] = default_checkpoints_load_func,
        loss_fn: Callable[..., Any] | None = None,
        batch_size: int | None = 1,
        test_loss_fn: Callable[..., Any] | None = None,
    ) -> None:
        refuse_misplaced_tensors(train_dataset, name="train_dataset", task_given=False)
        if isinstance(train_dataset, (str, Path)):
            raise InputError(
                f"train_dataset is the path {str(train_dataset)!r}; expected a Dataset or a "
                f"DataLoader (it is headwater.TracInCP that answers from a store)"
            )
        if not isinstance(train_dataset, DataLoader) and not isinstance(batch_size, int):
            raise CaptumArgumentError(
                f"train_dataset is a {type(train_dataset).__name__} and no DataLoader, so "
                f"batch_size must be an int; it is {batch_size!r}"
            )
        self.model = model
        self.checkpoints = checkpoint_list(checkpoints, checkpoints_load_func)
        self.checkpoints_load_func = checkpoints_load_func
        self.loss_fn = loss_fn
        self.batch_size = batch_size
        self.test_loss_fn = loss_fn if test_loss_fn is None else test_loss_fn
        self.train_dataloader = (
            train_dataset
            if isinstance(train_dataset, DataLoader)
            else DataLoader(train_dataset, batch_size=batch_size, shuffle=False)
        )

    def __setattr__(self, name: str, value: Any) -> None:
        # The engine has read them, and wouldn't notice.
        if name in self._ARGUMENTS and name in self.__dict__:
            raise AttributeError(
                f"{name} can't be changed any more; make another {self.get_name()} with it"
            )
        super().__setattr__(name, value)

    @classmethod
    def get_name(cls) -> str:
        return cls.__name__

    @abstractmethod
    def influence(  # type: ignore[override]
        self,
        inputs: Any,
        k: int | None = None,
        proponents: bool = True,
        unpack_inputs: bool = True,
        show_progress: bool = False,
    ) -> Tensor | KMostInfluentialResults:
        """All scores, or each query's k most influential training examples.

            influence(q, n) = sum over c of rate_c * <grad L_test(w_c, q), grad L(w_c, n)>

        Args:
            inputs: the queries: a batch `(features, ..., labels)`, or a DataLoader of such. They
                go through the model in the batches that they come in.
            k: how many training examples to return per query; None returns all scores.
            proponents: whether the k are the highest scores or (opponents) the lowest.
            unpack_inputs: not an argument of the classes.
            show_progress: whether a bar over the training batches is shown, on stderr.

        Returns:
            on the model's device: scores `(Q, N)`, or `KMostInfluentialResults` of indices and
            scores `(Q, min(k, N))`, ties in the order of the training data.

        Raises:
            CaptumArgumentError: `inputs` is None.
            BatchError: a batch is no tuple or list of features and labels.
            CaptumLossError: the loss isn't of the kind that it has to be.
            ShuffledLoaderError: the loader shuffles.
            InputError, CheckpointError, NonFiniteError, CaptureError: see `headwater.TracInCP`.
        """

    @abstractmethod
    def self_influence(self, inputs: Any = None, show_progress: bool = False) -> Tensor:
        """Each example's self-influence, for `loss_fn`.

            self_influence(n) = sum over c of rate_c * ||grad L(w_c, n)||^2

        Where a class takes `outer_loop_by_checkpoints`, as Captum's do, it has no effect: the order
        of the loops is chosen by memory.

        Args:
            inputs: the examples: a batch or a DataLoader, as for `influence`; None takes the
                training examples.
            show_progress: whether a bar over the batches is shown, on stderr.

        Returns:
            on the model's device, `(N,)`.

        Raises:
            as for `influence`.
        """
