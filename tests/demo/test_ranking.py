import torch

from headwater.demo.ranking import by_score, in_random_order, ranking

FLIPPED = torch.tensor([True, False, False, True, False, False, False, False, False, False])


def test_found_counts_the_flipped_labels_from_the_top_of_the_ranking():
    scores = torch.tensor([9.0, 8.0, 0.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    detection = by_score("a score", scores, FLIPPED)
    assert detection.found[:4].tolist() == [1, 1, 2, 2]
    assert detection.found_at(0.1) == 1
    assert detection.found_at(0.3) == 2
    assert detection.recall_at(0.1) == 0.5


def test_a_random_order_is_expected_to_find_the_share_that_is_checked():
    detection = in_random_order(FLIPPED)
    assert detection.recall_at(0.2) == 0.2
    assert detection.recall_at(1.0) == 1


def test_ties_go_to_the_lower_index():
    assert ranking(torch.tensor([1.0, 2.0, 1.0, 2.0])).tolist() == [1, 3, 0, 2]
