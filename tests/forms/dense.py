"""Forms of one parameter beside the gradients that they stand for, written out by plain loops."""

import itertools

import torch
from torch import Tensor

from headwater.forms import Convolved, Factored, Form, Materialised, Rows, Scaled, Summed

TABLE_ROWS, WIDTH = 5, 4


def randn(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def materialised(batch: int, generator: torch.Generator) -> tuple[Form, Tensor]:
    rows = randn(generator, batch, TABLE_ROWS * WIDTH)
    return Materialised(rows.clone()), rows


def factored(batch: int, generator: torch.Generator, *, positions: int, layout: str = "oi"):
    """A weight of TABLE_ROWS x WIDTH, whichever way round its factors are stored."""
    fan_in, fan_out = (WIDTH, TABLE_ROWS) if layout == "oi" else (TABLE_ROWS, WIDTH)
    inputs = randn(generator, batch, 1, positions, fan_in)
    grads = randn(generator, batch, 1, positions, fan_out)
    rows = torch.zeros(batch, TABLE_ROWS, WIDTH, dtype=torch.float64)
    for b in range(batch):
        for s in range(positions):
            x, d = inputs[b, 0, s], grads[b, 0, s]
            rows[b] += torch.outer(d, x) if layout == "oi" else torch.outer(x, d)
    return Factored(inputs, grads, layout=layout), rows.flatten(1)


def convolved(batch: int, generator: torch.Generator, *, dims: int) -> tuple[Form, Tensor]:
    """A kernel of TABLE_ROWS output channels and WIDTH numbers each: 2 x 2, or 1 x 2 x 2."""
    channels, kernel = (2, (2,)) if dims == 1 else (1, (2, 2))
    dilation = (2, 1)[:dims]
    inputs = randn(generator, batch, channels, *(6, 4)[:dims])
    grads = randn(generator, batch, TABLE_ROWS, *(4, 3)[:dims])
    rows = torch.zeros(batch, TABLE_ROWS, channels, *kernel, dtype=torch.float64)
    for place in itertools.product(*(range(size) for size in grads.shape[2:])):
        for offset in itertools.product(*(range(size) for size in kernel)):
            seen = tuple(p + o * d for p, o, d in zip(place, offset, dilation, strict=True))
            x, d = inputs[(..., *seen)], grads[(..., *place)]
            rows[(..., *offset)] += d[:, :, None] * x[:, None]
    form = Convolved(inputs, grads, kernel, (1,) * dims, dilation)
    return form, rows.flatten(1)


def banded(batch: int, generator: torch.Generator) -> tuple[Form, Tensor]:
    form, rows = convolved(batch, generator, dims=2)
    return form.banded(), rows


def looked_up(batch: int, generator: torch.Generator, *, positions: int) -> tuple[Form, Tensor]:
    ids = torch.randint(TABLE_ROWS, (batch, positions), generator=generator)
    values = randn(generator, batch, positions, WIDTH)
    rows = torch.zeros(batch, TABLE_ROWS, WIDTH, dtype=torch.float64)
    for b in range(batch):
        for s in range(positions):
            rows[b, ids[b, s]] += values[b, s]
    return Rows(ids, values, TABLE_ROWS), rows.flatten(1)


def tied(batch: int, generator: torch.Generator, *, positions: int) -> tuple[Form, Tensor]:
    table, of_table = looked_up(batch, generator, positions=positions)
    head, of_head = factored(batch, generator, positions=positions + 1)
    return Summed((table, head)), of_table + of_head


def scaled(kind, batch: int, generator: torch.Generator) -> tuple[Form, Tensor]:
    form, rows = kind(batch, generator)
    factors = randn(generator, batch)
    return Scaled(form, factors), rows * factors[:, None]


KINDS = {
    "materialised": materialised,
    "factored, one position": lambda b, g: factored(b, g, positions=1),
    "factored": lambda b, g: factored(b, g, positions=3),
    "factored, io": lambda b, g: factored(b, g, positions=2, layout="io"),
    "convolved, one axis": lambda b, g: convolved(b, g, dims=1),
    "convolved, two axes": lambda b, g: convolved(b, g, dims=2),
    "banded": lambda b, g: banded(b, g),
    "rows": lambda b, g: looked_up(b, g, positions=3),
    "rows, one position": lambda b, g: looked_up(b, g, positions=1),
    "scaled factored": lambda b, g: scaled(KINDS["factored"], b, g),
    "scaled rows": lambda b, g: scaled(KINDS["rows"], b, g),
    "rows and factored": lambda b, g: tied(b, g, positions=2),
}


def grouped(batch: int, generator: torch.Generator, *, groups: int, positions: int, bias: bool):
    """A layer of groups x 2 outputs and groups x 3 inputs, and its bias."""
    inputs = randn(generator, batch, groups, positions, 3)
    grads = randn(generator, batch, groups, positions, 2)
    weight = torch.zeros(batch, groups, 2, 3, dtype=torch.float64)
    for b in range(batch):
        for g in range(groups):
            for s in range(positions):
                weight[b, g] += torch.outer(grads[b, g, s], inputs[b, g, s])
    rows = weight.flatten(1)
    if bias:
        rows = torch.cat([rows, grads.sum(2).flatten(1)], dim=1)
    return Factored(inputs, grads, bias=bias), rows
