"""All scores of an MLP 784-256-128-10 against a plain forward and backward pass.

5 checkpoints, 10,000 training examples, 100 queries, one thread, float32. The floor goes over the
same examples at the same checkpoints: forward, loss, backward to the gradient of every parameter,
in slices of tensors that are in memory, at the batch size at which that is fastest. headwater reads
a Dataset through a DataLoader, with its own choice of batch size; what it does besides (loading
checkpoints, checks against autograd, products) is in its time.

Inputs are made up: no value in them changes how long the arithmetic takes. Before anything is
timed, scores of some pairs are held against a plain autograd loop in float64.

Usage: python -m benchmarks.mlp_all_scores [--rounds 9] [--threads 1]
"""

from __future__ import annotations

import argparse
import functools
import time

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks.paired import in_turn
from headwater import TracInCP
from tests.oracles import tracin

TRAINING, QUERIES, CHECKPOINTS = 10_000, 100, 5
RATES = [0.1, 0.07, 0.05, 0.02, 0.01]
LOSS = nn.CrossEntropyLoss(reduction="none")

Examples = tuple[Tensor, Tensor]


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )


def examples(count: int) -> Examples:
    return torch.rand(count, 784), torch.randint(10, (count,))


def plain_pass(states: list[dict[str, Tensor]], parts: list[Examples], batch_size: int) -> None:
    model = mlp()
    for state in states:
        model.load_state_dict(state)
        for inputs, targets in parts:
            for x, y in zip(inputs.split(batch_size), targets.split(batch_size), strict=True):
                model.zero_grad(set_to_none=True)
                LOSS(model(x), y).sum().backward()


def fastest_batch_size(states: list[dict[str, Tensor]], parts: list[Examples]) -> int:
    def seconds(batch_size: int) -> float:
        found = []
        for _ in range(3):
            begun = time.perf_counter()
            plain_pass(states, parts, batch_size)
            found.append(time.perf_counter() - begun)
        return min(found)

    return min((64, 128, 256, 512, 1024, 2048), key=seconds)


def check(
    scores: Tensor, states: list[dict[str, Tensor]], training: Examples, queries: Examples
) -> float:
    """The largest difference from the autograd loop over some pairs, relative to the scores."""
    some, few = slice(0, TRAINING, 500), slice(0, QUERIES, 25)
    model = mlp().double()
    doubles = [{name: tensor.double() for name, tensor in state.items()} for state in states]

    def loss(model: nn.Module, example: Examples) -> Tensor:
        return nn.functional.cross_entropy(model(example[0][None]), example[1][None])

    def singles(part: Examples, which: slice) -> list[Examples]:
        return list(zip(part[0][which].double(), part[1][which], strict=True))

    expected = tracin.influence_scores(
        model,
        zip(doubles, RATES, strict=True),
        loss,
        singles(training, some),
        singles(queries, few),
        tracin.trainable_names(model),
    )
    found = scores[few][:, some].double()
    return float((found - expected).abs().max() / expected.abs().max())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--threads", type=int, default=1)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(7)
    states = [dict(mlp().state_dict()) for _ in range(CHECKPOINTS)]
    training, queries = examples(TRAINING), examples(QUERIES)

    estimator = TracInCP(
        mlp(), TensorDataset(*training), list(zip(states, RATES, strict=True)), loss_fn=LOSS
    )
    error = check(estimator.influence(*queries), states, training, queries)
    print(f"scores differ from a float64 autograd loop by at most {error:.1e} of the largest score")
    if error > 1e-4:
        raise SystemExit("that is too much: nothing was measured")

    parts = [training, queries]
    batch_size = fastest_batch_size(states, parts)
    floor = functools.partial(plain_pass, states, parts, batch_size)
    measured = in_turn(floor, lambda: estimator.influence(*queries), rounds=options.rounds)
    print(f"plain pass: fastest with {batch_size} examples per batch")
    print(f"all scores: {measured}")


if __name__ == "__main__":
    main()
