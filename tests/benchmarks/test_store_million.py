from __future__ import annotations

import torch

from benchmarks import store_million


def test_a_small_store_answers_like_products_in_float64(capsys):
    threads = torch.get_num_threads()
    try:
        store_million.main(["--rows", "1500", "--threads", "1"])
    finally:
        torch.set_num_threads(threads)
    assert "10 of 10 as by float64 products" in capsys.readouterr().out
