"""What one row of the table is: a small model, and data on which ties and symmetries break.

Inputs and outputs are of unequal size, there are 7 training examples (the last batch of 3 is
short), as a rule 3 queries (so that a query batch is as large as a training batch), and two
checkpoints that differ from the model as it is handed over.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

N_TRAIN = 7
RATES = [0.3, 0.07]

PerExampleLoss = Callable[[Tensor, Tensor], Tensor]
Inputs = Callable[[Generator, int], tuple[Tensor, ...]]


def squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    return (predictions - targets).square().flatten(1).mean(1)


def cross_entropy(predictions: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(predictions, targets, reduction="none")


def token_cross_entropy(predictions: Tensor, targets: Tensor) -> Tensor:
    """Each sequence's sum over its tokens; -100 marks a token that doesn't count."""
    tokens = F.cross_entropy(
        predictions.transpose(1, 2), targets, reduction="none", ignore_index=-100
    )
    return tokens.sum(1)


class Reduced:
    """The sum or the mean of per-example losses, which says so in `.reduction`."""

    def __init__(self, per_example: PerExampleLoss, reduction: str) -> None:
        self.per_example = per_example
        self.reduction = reduction

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        losses = self.per_example(predictions, targets)
        return losses.sum() if self.reduction == "sum" else losses.mean()


def floats(*shape: int) -> Inputs:
    return lambda generator, count: (torch.randn(count, *shape, generator=generator),)


def ids(vocabulary: int, *shape: int) -> Inputs:
    return lambda generator, count: (
        torch.randint(vocabulary, (count, *shape), generator=generator),
    )


def both(*parts: Inputs) -> Inputs:
    return lambda generator, count: sum((part(generator, count) for part in parts), ())


@dataclass(frozen=True, eq=False)
class Architecture:
    name: str
    build: Callable[[], nn.Module]
    inputs: Inputs
    loss: PerExampleLoss = squared_error
    queries: int = 3
    batch_dim: int = 0  # of the inputs; targets and predictions are always batch first

    def __str__(self) -> str:
        return self.name

    @property
    def seed(self) -> int:
        return zlib.crc32(self.name.encode())

    def model(self, dtype: torch.dtype = torch.float64, variant: int = 0) -> nn.Module:
        """A fresh model. Variant 0 is handed over; 1 and 2 are the states of the checkpoints."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = self.build()
            torch.manual_seed(self.seed + 17 + variant)
            for p in model.parameters():
                with torch.no_grad():
                    p.add_(torch.randn(p.shape), alpha=0.2 + 0.1 * variant)
            for module in model.modules():
                if isinstance(getattr(module, "running_var", None), Tensor):
                    module.running_mean.normal_()
                    module.running_var.uniform_(0.3, 3.0)
        return model.to(dtype).train()

    def states(self, dtype: torch.dtype = torch.float64) -> list[dict[str, Tensor]]:
        return [dict(self.model(dtype, variant).state_dict()) for variant in (1, 2)]

    def training(self, dtype: torch.dtype = torch.float64) -> tuple[tuple[Tensor, ...], Tensor]:
        return self._data(N_TRAIN, 1, dtype)

    def query(self, dtype: torch.dtype = torch.float64) -> tuple[tuple[Tensor, ...], Tensor]:
        return self._data(self.queries, 2, dtype)

    def _data(self, count: int, part: int, dtype: torch.dtype) -> tuple[tuple[Tensor, ...], Tensor]:
        generator = torch.Generator().manual_seed(self.seed + 1000 * part)
        inputs = tuple(_cast(x, dtype) for x in self.inputs(generator, count))
        with torch.random.fork_rng(devices=[]):
            predictions = self.model(dtype).eval()(*inputs)
        assert predictions.shape[0] == count, "predictions are batch first"
        if self.loss is squared_error:
            targets = _cast(torch.randn(predictions.shape, generator=generator), dtype)
        elif self.loss is cross_entropy:
            targets = torch.randint(predictions.shape[1], (count,), generator=generator)
        else:
            targets = torch.randint(
                predictions.shape[2], predictions.shape[:2], generator=generator
            )
            targets[1, -2:] = -100
        return inputs, targets

    def examples(
        self, inputs: tuple[Tensor, ...], targets: Tensor
    ) -> list[tuple[tuple[Tensor, ...], Tensor]]:
        """The batch as batches of one."""
        return [
            (tuple(x.narrow(self.batch_dim, i, 1) for x in inputs), targets[i : i + 1])
            for i in range(len(targets))
        ]

    def loss_of_one(self, model: nn.Module, example: tuple[tuple[Tensor, ...], Tensor]) -> Tensor:
        inputs, targets = example
        return self.loss(model(*inputs), targets).squeeze(0)

    def source(
        self, dtype: torch.dtype = torch.float64, batch_size: int = 3
    ) -> TensorDataset | DataLoader:
        """What an estimator is given: a Dataset, or a loader where the batch isn't in front."""
        inputs, targets = self.training(dtype)
        batch_first = tuple(x.movedim(self.batch_dim, 0) for x in inputs)
        dataset = TensorDataset(*batch_first, targets)
        if self.batch_dim == 0:
            return dataset
        return DataLoader(dataset, batch_size=batch_size, collate_fn=self._collate)

    def _collate(self, rows: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        *inputs, targets = zip(*rows, strict=True)
        stacked = [torch.stack(x, dim=self.batch_dim) for x in inputs]
        return (*stacked, torch.stack(targets))


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) if x.is_floating_point() else x
