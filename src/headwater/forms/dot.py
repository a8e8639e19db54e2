"""Dot products between the per-example gradients of two batches, for every pair of forms."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from headwater.forms.banded import Banded
from headwater.forms.contracted import dot_contracted
from headwater.forms.convolved import Convolved
from headwater.forms.cost import (
    examples_per_scratch,
    numbers_of_a_piece,
    pairs_are_cheaper_factored,
    runs_of_outputs,
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
from headwater.forms.outputs import OfOutputs, Outputs
from headwater.forms.precise import precise
from headwater.forms.products import add_products, products
from headwater.forms.reduced import Reduced
from headwater.forms.rows import Rows
from headwater.forms.scaled import Scaled
from headwater.forms.summed import Summed

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from headwater.forms.form import Form
    from headwater.forms.shared_inputs import SharedInputs


def dot(queries: Form, examples: Form, shared: SharedInputs | None = None) -> Float[Tensor, "Q B"]:
    """The dot product of every query's gradient with every example's, for one block of parameters.

    Exact whatever the two forms are; the algebra is the cheapest that the pair allows.

    Args:
        queries: Q gradients.
        examples: B gradients.
        shared: what checkpoints have in common of the examples.
    """
    if isinstance(queries, OfOutputs):
        return dot(queries.form, queries.outputs.of(examples))
    if isinstance(examples, Scaled):
        return dot(queries, examples.form, shared).mul_(examples.factors)
    if isinstance(queries, Scaled):
        return dot(queries.form, examples, shared).mul_(queries.factors[:, None])
    if isinstance(queries, Convolved):
        queries = queries.factored()
    if isinstance(examples, Reduced):
        # Products of factors with factors are added up over more terms than a gradient's numbers.
        written = isinstance(queries, (Materialised, Banded))
        examples = examples.form if written else examples.widened()
    if isinstance(examples, Convolved):
        return _dot_convolved(queries, examples)
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
        and queries.groups == examples.groups
    ):
        if queries.positions == examples.positions == 1:
            return _dot_single(queries, examples, shared)
        return _dot_factored(queries, examples)
    return _dot_written_out(queries, examples)


def for_pairs(form: Form, *, queries: int) -> Form:
    """A query's form in which products with many training examples are cheapest.

    Args:
        form: the gradients of some of the queries, or of all.
        queries: how many queries there are in all.
    """
    if isinstance(form, (Factored, Convolved)):
        if pairs_are_cheaper_factored(form, queries=queries, query_positions=form.positions):
            return _in_order(form.factored()) if isinstance(form, Convolved) else form
        if isinstance(form, Convolved) and form.in_bands:
            return form.banded()
        return Materialised(form.materialise())
    if isinstance(form, Rows):
        if table_is_cheaper_written_out(form, queries=queries):
            return Materialised(form.materialise())
        return form
    if isinstance(form, (OfOutputs, Scaled)):
        return replace(form, form=for_pairs(form.form, queries=queries))
    if isinstance(form, Summed):
        parts = tuple(for_pairs(part, queries=queries) for part in form.parts)
        if any(isinstance(part, Materialised) for part in parts):
            # Once a part is written out, the others can be added to it: one product in place of
            # as many as there are parts.
            return Materialised(form.materialise())
        return Summed(parts)
    return form


def _in_order(form: Factored) -> Factored:
    """The factors position by position in memory, as every product with them reads them."""
    return form.with_tensors((form.inputs.contiguous(), form.output_grads.contiguous()))


def _dot_single(
    queries: Factored, examples: Factored, shared: SharedInputs | None
) -> Float[Tensor, "Q B"]:
    """(x . x' + [bias]) (d . d'), of one position each."""
    total = None
    for group in range(queries.groups):
        left, right = queries.inputs[:, group, 0], examples.inputs[:, group, 0]
        inputs = shared.products(left, right) if shared is not None else None
        if inputs is None:
            inputs = left @ right.mT
        grads = queries.output_grads[:, group, 0] @ examples.output_grads[:, group, 0].mT
        product = grads.addcmul_(grads, inputs) if queries.bias else grads.mul_(inputs)
        total = product if total is None else total.add_(product)
    assert total is not None
    return total


def _dot_factored(queries: Factored, examples: Factored) -> Float[Tensor, "Q B"]:
    """The sum over positions s and t of (x_s . x'_t + [bias]) (d_s . d'_t)."""
    result = queries.inputs.new_zeros(queries.batch_size, examples.batch_size)
    itemsize = queries.inputs.element_size()
    # Tiles of (some queries' positions) x (some examples' positions), so that both Gram blocks
    # stay in cache; few examples suffice for a product at full speed.
    pair = 2 * queries.positions * examples.positions
    at_once = min(queries.batch_size, max(1, examples_per_scratch(pair * 8, itemsize)))
    width = examples_per_scratch(pair * at_once, itemsize)
    for start in range(0, examples.batch_size, width):
        stop = min(start + width, examples.batch_size)
        for group in range(queries.groups):
            inputs = examples.inputs[start:stop, group].flatten(0, 1).mT
            grads = examples.output_grads[start:stop, group].flatten(0, 1).mT
            for low in range(0, queries.batch_size, at_once):
                high = min(low + at_once, queries.batch_size)
                gram = queries.inputs[low:high, group].flatten(0, 1) @ inputs
                other = queries.output_grads[low:high, group].flatten(0, 1) @ grads
                gram = other.addcmul_(other, gram) if queries.bias else other.mul_(gram)
                tiles = gram.view(high - low, queries.positions, -1, examples.positions)
                result[low:high, start:stop] += tiles.sum(dim=(1, 3))
    return result


def _dot_convolved(queries: Form, examples: Convolved) -> Float[Tensor, "Q B"]:
    """Products with windows, as many examples at a time as stay in the cache."""
    if isinstance(queries, Factored):
        pieces = examples.factored_pieces(scratch_each=examples.numbers)
        return torch.cat([dot(queries, piece) for piece in pieces], dim=1)
    # Gradients written out are far smaller than windows: more examples at a time meet the queries,
    # which are read from memory anew for every product.
    kernel = (examples.inputs.shape[1], *examples.kernel_size)
    if isinstance(queries, Banded) and queries.kernel == kernel and examples.in_bands:
        return examples.dot_banded(queries)
    left = queries.materialise()
    numbers = numbers_of_a_piece(left.shape[1], queries=len(left), itemsize=left.element_size())
    blocks = [_dot_with_written(left, piece) for piece in examples.pieces(numbers)]
    return torch.cat(blocks, dim=1)


def _dot_with_written(left: Float[Tensor, "Q P"], examples: Form) -> Float[Tensor, "Q B"]:
    """Products with gradients that are written out here; a weight and its bias stay apart."""
    if isinstance(examples, Factored) or (isinstance(examples, Convolved) and examples.as_groups):
        weight, *bias = map(precise, examples.written())
    else:
        return products(left, examples.materialise())
    size = weight.shape[1]
    product = products(left[:, :size], weight)
    for part in bias:
        add_products(product, left[:, size:], part)
    return product


def _dot_by_outputs(left: Float[Tensor, "Q P"], examples: Factored) -> Float[Tensor, "Q B"]:
    """Products with gradients of which not even one's would fit, some outputs at a time."""
    weight = replace(examples, bias=False)
    shape = (examples.fan_out, examples.fan_in)
    outputs = Outputs.all_of(weight, (shape if examples.layout == "oi" else shape[::-1],))
    assert outputs is not None, "the shape is the form's own"
    total = left.new_zeros(len(left), examples.batch_size)
    for some in outputs.parted(runs_of_outputs(examples)):
        mine, run = some.of_written(left[:, : weight.numbers]), some.of(weight)
        blocks = [_dot_with_written(mine, piece) for piece in run.pieces(run.numbers)]
        total += torch.cat(blocks, dim=1)
    if examples.bias:
        add_products(total, left[:, weight.numbers :], examples.bias_gradients())
    return total


def _dot_written_out(queries: Form, examples: Form) -> Float[Tensor, "Q B"]:
    if isinstance(queries, Factored) and isinstance(examples, Materialised):
        return _dot_written_out(examples, queries).mT
    left = queries.materialise()
    if isinstance(examples, Materialised):
        return products(left, examples.gradients)
    if isinstance(examples, Factored) and examples.positions == 1:
        return dot_contracted(left, examples)
    if isinstance(examples, Factored) and runs_of_outputs(examples) > 1:
        return _dot_by_outputs(left, examples)
    # Written out a few examples at a time: the block of gradients never outgrows the cache.
    numbers = numbers_of_a_piece(left.shape[1], queries=len(left), itemsize=left.element_size())
    return torch.cat([_dot_with_written(left, piece) for piece in examples.pieces(numbers)], dim=1)
