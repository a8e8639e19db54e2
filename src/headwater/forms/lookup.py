"""Products with gradients of a lookup table, in which few rows of many are other than zero.

None of them writes a table out: a query's rows are summed into a small table, and each example's
positions look up what stands there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headwater.forms.cost import examples_per_scratch
from headwater.forms.factored import Factored
from headwater.forms.products import lie_side_by_side
from headwater.forms.rows import Rows

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms.form import Form


def factors_of_a_table(form: Factored) -> bool:
    """Whether the form holds the gradient of one matrix, as a table tied to an output head has."""
    return form.inputs.shape[1] == 1 and not form.bias


def dot_rows(queries: Rows, examples: Rows) -> Float[Tensor, "Q B"]:
    """<e_t at row id_t, e'_s at row id'_s>, summed over the positions with equal rows."""
    touched, values = queries.touched, examples.values.flatten(0, 1)
    ids = examples.ids.flatten()
    first = touched.starts[ids]
    # The entries of queries that stand at the row which a position looked up.
    counts = touched.starts[ids + 1] - first
    met = counts.cumsum(0)
    at_once = examples_per_scratch(values.shape[1], values.element_size())
    result = values.new_zeros(queries.batch_size * examples.batch_size)
    total, low, done = int(met[-1]) if len(met) else 0, 0, 0
    while done < total:
        # As many positions as meet few enough entries; a single one meets no more than Q.
        high = max(low + 1, int(torch.searchsorted(met, done + at_once, right=True)))
        count = int(met[high - 1]) - done
        place = torch.repeat_interleave(counts[low:high], output_size=count)
        position = place + low
        before = (met - counts)[low:high] - done
        entry = torch.arange(count, device=ids.device) + (first[low:high] - before)[place]
        products = (values[position] * touched.values[entry]).sum(dim=1)
        pair = touched.owners[entry] * examples.batch_size + position // examples.positions
        result.index_add_(0, pair, products)
        low, done = high, done + count
    return result.view(queries.batch_size, examples.batch_size)


def dot_rows_with_factored(queries: Rows, examples: Factored) -> Float[Tensor, "Q B"]:
    """<e_t at row id_t, d_s x_s^T> = d_s[id_t] (x_s . e_t), summed over s and t."""
    by_row, other = _sides(examples)
    touched, itemsize = queries.touched, queries.values.element_size()
    result = queries.values.new_zeros(queries.batch_size, examples.batch_size)
    at_once = examples_per_scratch(2 * examples.batch_size * examples.positions, itemsize)
    for start in range(0, len(touched.rows), at_once):
        entries = slice(start, start + at_once)
        products = by_row[..., touched.rows[entries]] * (other @ touched.values[entries].mT)
        result.index_add_(0, touched.owners[entries], products.sum(dim=1).mT)
    return result


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
    if lie_side_by_side(queries):
        return _dot_side_by_side_with_rows(queries, examples)
    ids, values = examples.ids.flatten(), examples.values.flatten(0, 1)
    tables = queries.unflatten(1, (examples.table_rows, -1))
    products: list[Tensor] = [(table[ids] * values).sum(dim=1) for table in tables]
    if not products:
        return queries.new_zeros(0, examples.batch_size)
    return torch.stack(products).view(-1, *examples.ids.shape).sum(dim=2)


def _dot_side_by_side_with_rows(
    queries: Float[Tensor, "Q P"], examples: Rows
) -> Float[Tensor, "Q B"]:
    """The same, row by row of all queries: what lies together is looked up together."""
    ids, values = examples.ids.flatten(), examples.values.flatten(0, 1).to(queries.dtype)
    table = queries.mT.unflatten(0, (examples.table_rows, -1))
    at_once = examples_per_scratch(table.shape[1:].numel(), table.element_size())
    products = queries.new_zeros(len(ids), len(queries))
    for start in range(0, len(ids), at_once):
        some = slice(start, start + at_once)
        products[some] = torch.bmm(values[some, None], table[ids[some]])[:, 0]
    return products.view(*examples.ids.shape, -1).sum(dim=1).mT


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


def _sides(form: Factored) -> tuple[Float[Tensor, "B S V"], Float[Tensor, "B S E"]]:
    """The factor along the rows of the table, and the one along its columns."""
    sides = form.output_grads[:, 0], form.inputs[:, 0]
    return sides if form.layout == "oi" else sides[::-1]
