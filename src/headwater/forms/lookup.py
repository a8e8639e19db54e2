"""Products with gradients of a lookup table, in which few rows of many are other than zero.

None of them writes a table out. They go query by query: a query's rows are summed into a small
table, and each example's positions look up what stands there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headwater.forms.factored import Factored
from headwater.forms.rows import Rows

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from headwater.forms.form import Form


def factors_of_a_table(form: Factored) -> bool:
    """Whether the form holds the gradient of one matrix, as a table tied to an output head has."""
    return form.inputs.shape[1] == 1 and not form.bias


def dot_rows(queries: Rows, examples: Rows) -> Float[Tensor, "Q B"]:
    """<e_t at row id_t, e'_s at row id'_s>, summed over the positions with equal rows."""
    result = queries.values.new_zeros(queries.batch_size, examples.batch_size)
    place = queries.ids.new_full((queries.table_rows,), -1)
    for query in range(queries.batch_size):
        rows, table = _touched(queries, query)
        place[rows] = torch.arange(len(rows), device=rows.device)
        found = place[examples.ids]
        example, position = (found >= 0).nonzero(as_tuple=True)
        products = examples.values[example, position] * table[found[example, position]]
        result[query].index_add_(0, example, products.sum(dim=1))
        place[rows] = -1
    return result


def dot_rows_with_factored(queries: Rows, examples: Factored) -> Float[Tensor, "Q B"]:
    """<e_t at row id_t, d_s x_s^T> = d_s[id_t] (x_s . e_t), summed over s and t."""
    by_row, other = _sides(examples)
    products = []
    for query in range(queries.batch_size):
        rows, table = _touched(queries, query)
        products.append((by_row[..., rows] * (other @ table.mT)).sum(dim=(1, 2)))
    return torch.stack(products)


def dot_factored_with_rows(queries: Factored, examples: Rows) -> Float[Tensor, "Q B"]:
    """<d_s x_s^T, e_t at row id_t> = d_s[id_t] (x_s . e_t), summed over s and t."""
    by_row, other = _sides(queries)
    ids, values = examples.ids.flatten(), examples.values.flatten(0, 1)
    products: list[Tensor] = [
        (by_row[query][:, ids] * (other[query] @ values.mT)).sum(dim=0)
        for query in range(queries.batch_size)
    ]
    return torch.stack(products).view(-1, *examples.ids.shape).sum(dim=2)


def dot_written_with_rows(queries: Float[Tensor, "Q P"], examples: Rows) -> Float[Tensor, "Q B"]:
    """<M, e_t at row id_t> = M[id_t] . e_t, summed over t."""
    ids, values = examples.ids.flatten(), examples.values.flatten(0, 1)
    tables = queries.unflatten(1, (examples.table_rows, -1))
    products: list[Tensor] = [(table[ids] * values).sum(dim=1) for table in tables]
    if not products:
        return queries.new_zeros(0, examples.batch_size)
    return torch.stack(products).view(-1, *examples.ids.shape).sum(dim=2)


def paired_dot(left: Form, right: Form) -> Float[Tensor, " B"]:
    """The dot product of example b's gradient in one form with example b's in the other."""
    if isinstance(left, Factored) and isinstance(right, Rows):
        return paired_dot(right, left)
    if isinstance(left, Rows) and isinstance(right, Factored) and factors_of_a_table(right):
        by_row, other = _sides(right)
        index = left.ids[:, None, :].expand(-1, right.positions, -1)
        return (by_row.gather(2, index) * (other @ left.values.mT)).sum(dim=(1, 2))
    products = []
    for place in range(left.batch_size):
        pair = (form.examples(place, place + 1).materialise()[0] for form in (left, right))
        products.append(torch.dot(*pair))
    return torch.stack(products)


def _touched(form: Rows, query: int) -> tuple[Int[Tensor, " R"], Float[Tensor, "R E"]]:
    """The rows that a query looked up, each once, and its gradient there."""
    rows, where = torch.unique(form.ids[query], return_inverse=True)
    table = form.values.new_zeros(len(rows), form.values.shape[2])
    return rows, table.index_add_(0, where, form.values[query])


def _sides(form: Factored) -> tuple[Float[Tensor, "B S V"], Float[Tensor, "B S E"]]:
    """The factor along the rows of the table, and the one along its columns."""
    sides = form.output_grads[:, 0], form.inputs[:, 0]
    return sides if form.layout == "oi" else sides[::-1]
