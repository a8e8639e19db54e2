"""Dot products between the per-example gradients of two batches, for every pair of forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headwater.forms.cost import examples_per_scratch, pairs_are_cheaper_factored
from headwater.forms.factored import Factored
from headwater.forms.materialised import Materialised
from headwater.forms.rows import Rows
from headwater.forms.summed import Summed

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from headwater.forms.form import Form


def dot(queries: Form, examples: Form) -> Float[Tensor, "Q B"]:
    """The dot product of every query's gradient with every example's, for one block of parameters.

    Exact whatever the two forms are; the algebra is the cheapest that the pair allows.
    """
    if isinstance(queries, Summed):
        return torch.stack([dot(part, examples) for part in queries.parts]).sum(dim=0)
    if isinstance(examples, Summed):
        return torch.stack([dot(queries, part) for part in examples.parts]).sum(dim=0)
    if isinstance(queries, Rows) or isinstance(examples, Rows):
        return _dot_on_common_rows(queries, examples)
    if (
        isinstance(queries, Factored)
        and isinstance(examples, Factored)
        and queries.layout == examples.layout
        and queries.inputs.shape[1] == examples.inputs.shape[1]
    ):
        return _dot_factored(queries, examples)
    return _dot_materialised(queries, examples)


def for_pairs(form: Form) -> Form:
    """A query's form in which products with many training examples are cheapest."""
    if isinstance(form, Factored):
        queries, positions = form.batch_size, form.positions
        if not pairs_are_cheaper_factored(form, queries=queries, query_positions=positions):
            return Materialised(form.materialise())
    if isinstance(form, Summed):
        return Summed(tuple(for_pairs(part) for part in form.parts))
    return form


def paired_dot(left: Form, right: Form) -> Float[Tensor, " B"]:
    """The dot product of example b's gradient in one form with example b's in the other."""
    if isinstance(left, Factored) and isinstance(right, Rows):
        return paired_dot(right, left)
    if isinstance(left, Rows) and isinstance(right, Factored) and right.inputs.shape[1] == 1:
        table_side, other_side = (
            (right.output_grads, right.inputs)
            if right.layout == "oi"
            else (right.inputs, right.output_grads)
        )
        # <e_t added at row id_t, d_s x_s^T> = d_s[id_t] (x_s . e_t), summed over s and t.
        index = left.ids[:, None, :].expand(-1, right.positions, -1)
        at_rows = table_side[:, 0].gather(2, index)
        return (at_rows * (other_side[:, 0] @ left.values.mT)).sum(dim=(1, 2))
    products = []
    for place in range(left.batch_size):
        pair = (form.examples(place, place + 1).materialise()[0] for form in (left, right))
        products.append(torch.dot(*pair))
    return torch.stack(products)


def _dot_factored(queries: Factored, examples: Factored) -> Float[Tensor, "Q B"]:
    groups = queries.inputs.shape[1]
    if queries.positions == examples.positions == 1:
        total = None
        for group in range(groups):
            inputs = queries.inputs[:, group, 0] @ examples.inputs[:, group, 0].mT
            grads = queries.output_grads[:, group, 0] @ examples.output_grads[:, group, 0].mT
            product = (inputs.add_(1) if queries.bias else inputs).mul_(grads)
            total = product if total is None else total.add_(product)
        assert total is not None
        return total
    result = queries.inputs.new_zeros(queries.batch_size, examples.batch_size)
    itemsize = queries.inputs.element_size()
    # Tiles of (one query's positions) x (some examples' positions), so that both Gram blocks and
    # their product stay in cache.
    width = examples_per_scratch(2 * queries.positions * examples.positions, itemsize)
    for start in range(0, examples.batch_size, width):
        stop = start + width
        for group in range(groups):
            inputs = examples.inputs[start:stop, group].flatten(0, 1).mT
            grads = examples.output_grads[start:stop, group].flatten(0, 1).mT
            for query in range(queries.batch_size):
                gram = queries.inputs[query, group] @ inputs
                gram = (gram.add_(1) if queries.bias else gram).mul_(
                    queries.output_grads[query, group] @ grads
                )
                per_example = gram.view(queries.positions, -1, examples.positions).sum(dim=(0, 2))
                result[query, start:stop] += per_example
    return result


def _dot_materialised(queries: Form, examples: Form) -> Float[Tensor, "Q B"]:
    if isinstance(queries, Factored) and isinstance(examples, Materialised):
        return _dot_materialised(examples, queries).mT
    left = queries.materialise()
    if isinstance(examples, Materialised):
        return left @ examples.gradients.mT
    # Written out a few examples at a time: the block of gradients never outgrows the cache.
    width = examples_per_scratch(left.shape[1], left.element_size())
    pieces = (
        examples.examples(start, start + width) for start in range(0, examples.batch_size, width)
    )
    return torch.cat([left @ piece.materialise().mT for piece in pieces], dim=1)


def _dot_on_common_rows(queries: Form, examples: Form) -> Float[Tensor, "Q B"]:
    """Products where one side at least is a few rows of a table: only common rows count."""
    rows = _touched_rows(queries, examples)
    sized = queries if isinstance(queries, Rows) else examples
    assert isinstance(sized, Rows)
    width, like = sized.values.shape[2], sized.values
    both = queries.batch_size + examples.batch_size
    step = examples_per_scratch(both * width, like.element_size())
    total = like.new_zeros(queries.batch_size, examples.batch_size)
    for some in rows.split(step):
        left, right = (_on_rows(form, some, sized.table_rows) for form in (queries, examples))
        total.addmm_(left.flatten(1), right.flatten(1).mT)
    return total


def _touched_rows(queries: Form, examples: Form) -> Int[Tensor, " R"]:
    tables = [form for form in (queries, examples) if isinstance(form, Rows)]
    touched: Tensor = torch.unique(tables[0].ids)
    if len(tables) == 2:
        touched = touched[torch.isin(touched, tables[1].ids)]
    return touched


def _on_rows(form: Form, rows: Int[Tensor, " R"], table_rows: int) -> Float[Tensor, "B R E"]:
    """The gradients at some rows of the table, written out."""
    if isinstance(form, Rows):
        # Rows that aren't asked for are collected in one more row, which is then left out.
        place = rows.new_full((table_rows,), len(rows))
        place[rows] = torch.arange(len(rows), device=rows.device)
        return form.dense(place[form.ids], len(rows) + 1).narrow(1, 0, len(rows))
    if isinstance(form, Factored) and form.inputs.shape[1] == 1 and not form.bias:
        inputs, grads = form.inputs[:, 0], form.output_grads[:, 0]
        if form.layout == "oi":
            return grads[..., rows].mT @ inputs
        return inputs[..., rows].mT @ grads
    written: Tensor = form.materialise().unflatten(1, (table_rows, -1))
    return written[:, rows]
