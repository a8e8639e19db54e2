"""The choices between forms, at sizes where which one is cheaper is plain."""

import pytest
import torch

from headwater.forms import Factored, Materialised, Rows
from headwater.forms.cost import (
    examples_per_scratch,
    norm_is_cheaper_factored,
    pairs_are_cheaper_factored,
    table_is_cheaper_written_out,
)
from headwater.forms.dot import for_pairs


def layer(fan_in: int, fan_out: int, positions: int, batch: int = 2) -> Factored:
    return Factored(
        torch.empty(batch, 1, positions, fan_in), torch.empty(batch, 1, positions, fan_out)
    )


def table(table_rows: int, positions: int, batch: int = 2) -> Rows:
    ids = torch.zeros(batch, positions, dtype=torch.int64)
    return Rows(ids, torch.empty(batch, positions, 8), table_rows)


@pytest.mark.parametrize("queries", [1, 100, 10_000])
def test_a_layer_with_one_position_is_always_factored(queries):
    form = layer(784, 256, 1)
    assert pairs_are_cheaper_factored(form, queries=queries, query_positions=1)
    assert norm_is_cheaper_factored(form)


def test_few_positions_are_factored_and_many_written_out():
    # A convolution of 9 inputs and 8 outputs at 784 places; a wide layer over 4 tokens.
    assert not pairs_are_cheaper_factored(layer(9, 8, 784), queries=100, query_positions=784)
    assert not norm_is_cheaper_factored(layer(9, 8, 784))
    assert pairs_are_cheaper_factored(layer(768, 3072, 4), queries=100, query_positions=4)
    assert norm_is_cheaper_factored(layer(768, 3072, 64))


def test_a_large_table_is_looked_up_and_a_small_one_written_out():
    assert not table_is_cheaper_written_out(table(50_000, 128), queries=100)
    assert table_is_cheaper_written_out(table(2, 128), queries=100)
    assert table_is_cheaper_written_out(table(512, 128), queries=100)


def test_queries_are_held_in_the_form_that_was_chosen():
    assert isinstance(for_pairs(layer(9, 8, 784), queries=100), Materialised)
    assert isinstance(for_pairs(layer(784, 256, 1), queries=100), Factored)
    assert isinstance(for_pairs(table(50_000, 4), queries=2), Rows)


def test_scratch_holds_an_example_at_least():
    assert examples_per_scratch(10**12, 4) == 1
    assert examples_per_scratch(0, 4) > 1
