"""How often ranks exchange columns, and what they then have."""

import pytest
import torch
from torch import distributed as dist

from headwater.distributed import Exchange, exchange
from headwater.distributed.ranks import Ranks
from headwater.distributed.turns import MOST_BATCHES


class Columns:
    def __init__(self):
        self.blocks = []

    def add(self, start, block):
        self.blocks.append((start, block))


@pytest.fixture
def ranks(tmp_path):
    """A group of one process, whose collectives are real."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield Ranks()
    dist.destroy_process_group()


def test_columns_are_handed_on_in_order_and_later_and_later(ranks, monkeypatch):
    monkeypatch.setattr(exchange, "_SECONDS_BETWEEN", 3600.0)
    sink = Columns()
    mine = Exchange(ranks, sink, rows=3)
    blocks = [torch.full((3, width), float(width)) for width in (4, 4, 2)]
    mine.add(0, blocks[0])
    # After the first batch it is known how long one takes.
    assert len(sink.blocks) == 1
    assert mine.batches_between == MOST_BATCHES
    for block in blocks[1:]:
        mine.add(0, block)
    assert len(sink.blocks) == 1
    assert mine.finish_alike(7)
    assert [start for start, _ in sink.blocks] == [0, 4, 8]
    assert torch.equal(torch.cat([block for _, block in sink.blocks], dim=1), torch.cat(blocks, 1))


def test_slow_batches_and_large_ones_are_exchanged_one_by_one(ranks, monkeypatch):
    for name in ("_SECONDS_BETWEEN", "_MOST_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(exchange, name, 1e-9)
            sink = Columns()
            mine = Exchange(ranks, sink, rows=1)
            # As the question before this one left it.
            mine.batches_between = 2
            for number in range(4):
                mine.add(number, torch.zeros(1, 5))
            assert mine.batches_between == 1
            assert len(sink.blocks) == 4
            mine.finish()
