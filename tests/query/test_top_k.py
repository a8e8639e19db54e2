"""The running top k against a sort of everything."""

import pytest
import torch

from headwater.query import AllScores, TopK
from headwater.query import top_k as top_k_module
from tests.oracles import tracin

# Few values, so that ties stand at every cut.
SCORES = torch.randint(4, (3, 50), generator=torch.Generator().manual_seed(0)).double()


def streamed(sink, width: int, scores: torch.Tensor = SCORES):
    for start in range(0, scores.shape[1], width):
        sink.add(start, scores[:, start : start + width])
    return sink.result()


@pytest.mark.parametrize("gathered", [1, 7, 4096])
@pytest.mark.parametrize("width", [1, 7, 50])
@pytest.mark.parametrize("k", [0, 1, 6, 50, 80])
@pytest.mark.parametrize("side", ["proponents", "opponents"])
def test_the_top_k_is_that_of_a_sort_with_ties_to_the_lower_index(
    side, k, width, gathered, monkeypatch
):
    monkeypatch.setattr(top_k_module, "_GATHERED", gathered)
    indices, scores = streamed(TopK(3, k=k, side=side), width)
    expected_indices, expected_scores = tracin.top_k(SCORES, k, side == "proponents")
    assert torch.equal(indices, expected_indices)
    assert torch.equal(scores, expected_scores)


@pytest.mark.parametrize("columns", [None, 50, 20, 70])
def test_all_scores_are_collected_whatever_length_was_announced(columns):
    assert torch.equal(streamed(AllScores(3, columns), 7), SCORES)


def test_nothing_came():
    indices, scores = TopK(3, k=2, side="proponents").result()
    assert indices.shape == scores.shape == (3, 0)
    assert AllScores(3, None).result().shape == (3, 0)
