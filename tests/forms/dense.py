"""Forms of one parameter beside the gradients that they stand for, written out by plain loops."""

import torch
from torch import Tensor

from headwater.forms import Factored, Form, Materialised, Rows, Scaled, Summed

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
