"""Dot products between the per-example gradients of two batches, for every pair of forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headwater.forms.cost import (
    examples_per_scratch,
    pairs_are_cheaper_factored,
    table_is_cheaper_written_out,
)
from headwater.forms.factored import Factored
from headwater.forms.lookup import (
    dot_factored_with_rows,
    dot_rows,
    dot_rows_with_factored,
    dot_written_with_rows,
    factors_of_a_table,
)
from headwater.forms.materialised import Materialised
from headwater.forms.rows import Rows
from headwater.forms.scaled import Scaled
from headwater.forms.summed import Summed

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms.form import Form


def dot(queries: Form, examples: Form) -> Float[Tensor, "Q B"]:
    """The dot product of every query's gradient with every example's, for one block of parameters.

    Exact whatever the two forms are; the algebra is the cheapest that the pair allows.
    """
    if isinstance(examples, Scaled):
        return dot(queries, examples.form).mul_(examples.factors)
    if isinstance(queries, Scaled):
        return dot(queries.form, examples).mul_(queries.factors[:, None])
    if isinstance(queries, Summed):
        return torch.stack([dot(part, examples) for part in queries.parts]).sum(dim=0)
    if isinstance(examples, Summed):
        return torch.stack([dot(queries, part) for part in examples.parts]).sum(dim=0)
    if isinstance(examples, Rows):
        if isinstance(queries, Rows):
            return dot_rows(queries, examples)
        if isinstance(queries, Factored) and factors_of_a_table(queries):
            return dot_factored_with_rows(queries, examples)
        if not table_is_cheaper_written_out(examples, queries=queries.batch_size):
            return dot_written_with_rows(queries.materialise(), examples)
    elif isinstance(queries, Rows):
        if isinstance(examples, Factored) and factors_of_a_table(examples):
            return dot_rows_with_factored(queries, examples)
        return dot(examples, queries).mT
    elif (
        isinstance(queries, Factored)
        and isinstance(examples, Factored)
        and queries.layout == examples.layout
        and queries.inputs.shape[1] == examples.inputs.shape[1]
    ):
        return _dot_factored(queries, examples)
    return _dot_written_out(queries, examples)


def for_pairs(form: Form, *, queries: int) -> Form:
    """A query's form in which products with many training examples are cheapest.

    Args:
        form: the gradients of some of the queries, or of all.
        queries: how many queries there are in all.
    """
    if isinstance(form, Factored):
        if pairs_are_cheaper_factored(form, queries=queries, query_positions=form.positions):
            return form
        return Materialised(form.materialise())
    if isinstance(form, Rows):
        if table_is_cheaper_written_out(form, queries=queries):
            return Materialised(form.materialise())
        return form
    if isinstance(form, Summed):
        parts = tuple(for_pairs(part, queries=queries) for part in form.parts)
        if any(isinstance(part, Materialised) for part in parts):
            # Once a part is written out, the others can be added to it: one product in place of
            # as many as there are parts.
            return Materialised(form.materialise())
        return Summed(parts)
    return form


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


def _dot_written_out(queries: Form, examples: Form) -> Float[Tensor, "Q B"]:
    if isinstance(queries, Factored) and isinstance(examples, Materialised):
        return _dot_written_out(examples, queries).mT
    left = queries.materialise()
    if isinstance(examples, Materialised):
        return left @ examples.gradients.mT
    # Written out a few examples at a time: the block of gradients never outgrows the cache.
    pieces = examples.pieces(left.shape[1])
    return torch.cat([left @ piece.materialise().mT for piece in pieces], dim=1)
