"""Time, memory, disk and network of large jobs: `python -m benchmarks.cluster_arithmetic`.

Writes the tables of docs/cluster.md. Nothing here was run at these sizes: the formulas are held
against real small runs in tests/benchmarks/test_cluster_arithmetic.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import page

PAGE = Path(__file__).parent.parent / "docs" / "cluster.md"
_HOUR = 3600.0


@dataclass(frozen=True)
class Layers:
    """So many linear layers of one shape, none with a bias."""

    count: int
    inputs: int
    outputs: int

    @property
    def parameters(self) -> int:
        """Numbers of all their weights."""
        return self.count * self.inputs * self.outputs


@dataclass(frozen=True)
class Job:
    """A model and its training data.

    Attributes:
        name: for the tables.
        layers: the linear layers, which are selected, in order.
        attention: blocks of attention, and their width.
        examples: N.
        positions: S, tokens in an example.
        dim: numbers on either side that a layer's gradient is projected to.
    """

    name: str
    layers: tuple[Layers, ...]
    attention: tuple[int, int]
    examples: int
    positions: int
    dim: int = 16

    @property
    def parameters(self) -> int:
        """P, of the selected layers."""
        return sum(each.parameters for each in self.layers)

    @property
    def projected_numbers(self) -> int:
        """Numbers of an example's projected gradients, all layers."""
        return sum(
            each.count * min(self.dim, each.inputs) * min(self.dim, each.outputs)
            for each in self.layers
        )


def decoder(blocks: int, width: int, keys: int, hidden: int, gates: int) -> tuple[Layers, ...]:
    """The linear layers of a decoder's blocks; embedding and head are left out.

    Args:
        keys: the width of keys, and of values.
        gates: 2 for a gated feed-forward part, else 1.
    """
    return (
        Layers(2 * blocks, width, width),
        Layers(2 * blocks, width, keys),
        Layers(gates * blocks, width, hidden),
        Layers(blocks, hidden, width),
    )


def capture_flops(job: Job) -> float:
    """Of one example: forward, and backward to the outputs of layers, without weight gradients.

    A multiplication and an addition are two. The first layer has no gradient at its input.
    """
    linear = 2.0 * job.positions * job.parameters
    blocks, width = job.attention
    attended = 4.0 * job.positions**2 * width * blocks
    first = job.layers[0]
    return 2 * linear - 2.0 * job.positions * first.inputs * first.outputs + 3 * attended


def product_flops(job: Job, queries: int) -> float:
    """Of one example's exact products with written-out gradients of queries: 2 P (S + Q)."""
    return 2.0 * job.parameters * (job.positions + queries)


def projection_flops(job: Job) -> float:
    """Of one example's gradients from factors to dim x dim numbers by layer."""
    total = 0.0
    for each in job.layers:
        rows, columns = min(job.dim, each.outputs), min(job.dim, each.inputs)
        sides = rows * each.outputs * (rows < each.outputs)
        sides += columns * each.inputs * (columns < each.inputs)
        total += each.count * 2.0 * job.positions * (sides + rows * columns)
    return total


def store_bytes(job: Job, itemsize: int) -> int:
    """Of all examples' projected gradients at one checkpoint; headers and ids come to less."""
    return job.examples * job.projected_numbers * itemsize


def query_bytes(job: Job, itemsize: int) -> int:
    """Of one query's exact gradient at one checkpoint."""
    return job.parameters * itemsize


def gathered_bytes(job: Job, queries: int) -> int:
    """Scores that each rank receives while all ranks get all columns."""
    return 4 * queries * job.examples


@dataclass(frozen=True)
class Machine:
    """What is assumed of the machines.

    Attributes:
        flops: per second and device, as sustained, not as on the box.
        disk: bytes per second and node that a store is read at.
    """

    flops: float = 125e12
    disk: float = 2e9


JOBS = (
    Job(
        "1 M examples of 512 tokens × 100 M",
        decoder(12, 768, 768, 3072, 1),
        (12, 768),
        1_000_000,
        512,
    ),
    Job(
        "10 M examples of 512 tokens × 1 B",
        decoder(16, 2048, 512, 8192, 2),
        (16, 2048),
        10_000_000,
        512,
    ),
    Job(
        "1 B tokens in examples of 1,024 × 8 B",
        decoder(32, 4096, 1024, 14336, 2),
        (32, 4096),
        976_562,
        1024,
    ),
)

# The setting in which LoGra's authors report the size of a store, as far as it is assumed here:
# the feed-forward layers of Llama3-8B, 64 x 64 numbers each in half precision, 256 tokens.
LOGRA = Job(
    "LoGra's setting",
    (Layers(64, 4096, 14336), Layers(32, 14336, 4096)),
    (32, 4096),
    3_906_250,
    256,
    dim=64,
)


def text(machine: Machine) -> str:
    """The tables."""
    exact, kept = [], []
    for job in JOBS:
        streamed = job.examples * (capture_flops(job) + product_flops(job, 100))
        exact.append(
            (
                job.name,
                _number(job.parameters),
                _hours(streamed / machine.flops),
                _bytes(100 * query_bytes(job, 4)),
                _bytes(2 * job.parameters),
                _bytes(gathered_bytes(job, 100)),
            )
        )
        built = job.examples * (capture_flops(job) + projection_flops(job))
        size = store_bytes(job, 2)
        kept.append(
            (
                job.name,
                f"{_number(job.projected_numbers)} ({job.dim} × {job.dim} a layer)",
                _hours(built / machine.flops),
                _bytes(size),
                _hours(size / machine.disk),
                _hours(size / machine.disk / 16),
            )
        )
    heads = (
        "| job | selected parameters | device-hours a checkpoint, 100 queries | 100 queries' "
        "gradients, float32 | weights, bfloat16 | scores that a rank receives |",
        "| job | numbers an example | device-hours to build | disk, float16 | to read it, one "
        "node | 16 nodes |",
    )
    return "\n\n".join(
        [
            f"Assumed: {machine.flops / 1e12:g} TFLOP/s sustained by a device, "
            f"{machine.disk / 1e9:g} GB/s from disk by a node.",
            "**Exact scores, streamed.**",
            _table(heads[0], exact),
            "**A store of gradients projected layer by layer.**",
            _table(heads[1], kept),
            f"For the size of LoGra's store of 1 B tokens of Llama3-8B the formula gives "
            f"{_bytes(store_bytes(LOGRA, 2))} if the 96 feed-forward layers are kept as 64 × 64 "
            f"numbers of 2 bytes for examples of 256 tokens.",
        ]
    )


def _table(head: str, rows: Sequence[Sequence[str]]) -> str:
    rule = "|" + " --- |" * len(rows[0])
    return "\n".join([head, rule, *(f"| {' | '.join(row)} |" for row in rows)])


def _hours(seconds: float) -> str:
    hours = seconds / _HOUR
    if hours < 1 / 60:
        return f"{seconds:.2g} s"
    if hours < 1:
        return f"{60 * hours:.2g} min"
    return f"{float(f'{hours:.2g}'):,.0f} h" if hours >= 10 else f"{hours:.2g} h"


def _bytes(count: float) -> str:
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return f"{count:.3g} {units[0]}"


def _number(count: int) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6)):
        if count >= size:
            return f"{count / size:.2g} {unit}"
    return f"{count:,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tflops", type=float, help="sustained by a device")
    parser.add_argument("--disk", type=float, help="GB/s that a node reads at")
    given = parser.parse_args()
    if given.tflops is None and given.disk is None:
        page.put(PAGE, "arithmetic", text(Machine()))
        return
    usual = Machine()
    print(
        text(
            Machine(
                flops=usual.flops if given.tflops is None else given.tflops * 1e12,
                disk=usual.disk if given.disk is None else given.disk * 1e9,
            )
        )
    )


if __name__ == "__main__":
    main()
