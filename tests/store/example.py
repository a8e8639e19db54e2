"""The run whose store stands in `example_v1`, without a random number in it.

`python -m tests.store.example FOLDER` writes such a store; the one in the repository was written
by the version that had this format first, and must stay readable.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from headwater import GradientStore, TracInCP

FOLDER = Path(__file__).parent / "example_v1"
COUNT = 6


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 3)
        self.out = nn.Linear(3, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(torch.tanh(self.table(ids)).sum(dim=1))


def numbers(*shape: int, step: float) -> Tensor:
    """In [-1, 1], all different, from whole numbers and one multiplication."""
    count = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return ((count * step) % 2 - 1).view(shape).float()


def state(step: float) -> dict[str, Tensor]:
    shapes = {name: tensor.shape for name, tensor in Words().state_dict().items()}
    return {name: numbers(*shape, step=step) for name, shape in shapes.items()}


def data(count: int, step: int) -> tuple[Tensor, Tensor]:
    return (torch.arange(count * 4) * step % 7).view(count, 4), torch.arange(count) % 2


def losses(predictions: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(predictions, targets, reduction="none")


def estimator() -> TracInCP:
    return TracInCP(
        Words(),
        TensorDataset(*data(COUNT, 3)),
        [state(0.37), state(0.53)],
        loss_fn=losses,
        batch_size=4,
        learning_rates=[0.3, 0.07],
    )


QUERIES = data(2, 5)


def write(folder: Path) -> None:
    store = GradientStore.build(
        estimator(), folder, dtype="float16", ids=[f"row {n}" for n in range(COUNT)]
    )
    store.append(TensorDataset(*data(2, 4)), ids=["more 0", "more 1"])
    store.delete(["row 2"])


if __name__ == "__main__":
    write(Path(sys.argv[1]))
