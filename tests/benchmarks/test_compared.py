import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import smaller
from benchmarks.agreement import difference, from_autograd, reference
from benchmarks.compared import HEADWATER, METHODS
from benchmarks.peers.covered import modules_of, parameters_of
from benchmarks.workloads import WORKLOADS, Workload, case, changed

ROOT = Path(__file__).parents[2]


def examples(count):
    return torch.rand(count, 5), torch.randint(3, (count,))


def model(width=4):
    return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.LayerNorm(width), nn.Linear(width, 3))


SMALL = Workload("small", "a small model", model, examples, 13, 6, 2)


@pytest.mark.parametrize("final_layer", [None, "3"], ids=["all layers", "the final layer"])
def test_scores_of_headwater_are_those_of_a_plain_autograd_loop(final_layer):
    built = case(dataclasses.replace(SMALL, final_layer=final_layer))
    scores = HEADWATER.load()(built, None).all_scores()
    assert from_autograd(built, scores) < 1e-5
    assert from_autograd(built, scores.flip(0)) > 1e-3


def test_scores_over_what_a_peer_covers_are_those_of_these_parameters():
    built = case(SMALL)
    names = parameters_of(built.model, (nn.Linear,))
    assert names == ["0.weight", "0.bias", "3.weight", "3.bias"]
    all_names = [*names, "2.weight", "2.bias"]
    scores = HEADWATER.load()(built, None).all_scores()
    assert difference(reference(built, all_names), scores).within
    assert not difference(reference(built, names), scores).within


def test_modules_that_only_hold_parameters_are_not_covered():
    attention = nn.MultiheadAttention(4, 2)
    assert modules_of(attention, (nn.Linear,)) == []
    assert parameters_of(nn.Sequential(nn.Linear(2, 3)), (nn.Linear,)) is None


def test_a_smaller_case_has_the_first_examples_and_the_same_weights():
    built = case(SMALL)
    small = smaller.first_checkpoint(smaller.with_queries(smaller.with_training(built, 3), 2))
    assert torch.equal(small.training[0], built.training[0][:3])
    assert torch.equal(small.queries[1], built.queries[1][:2])
    assert small.states == built.states[:1]
    assert small.workload.rates == built.workload.rates[:1]


def test_cutting_training_examples_leaves_the_queries_as_they_were():
    whole, cut = case(SMALL), case(SMALL, training=3)
    assert torch.equal(cut.training[0], whole.training[0][:3])
    assert torch.equal(cut.queries[0], whole.queries[0])


def test_a_workload_is_changed_in_its_numbers_and_width():
    other = changed(SMALL, training=20, checkpoints=3, width=7)
    assert (other.training, other.queries, other.checkpoints) == (20, 6, 3)
    assert other.build()[0].out_features == 7


def test_every_workload_has_peers_whose_files_are_there():
    for workload in WORKLOADS.values():
        methods = [method for method in METHODS.values() if method.is_for(workload)]
        assert methods[0] is HEADWATER
        assert len({method.package for method in methods}) >= 4
    for method in METHODS.values():
        module, _ = method.place.split(":")
        assert (ROOT / f"{module.replace('.', '/')}.py").exists()


def test_the_page_lists_every_workload_with_its_numbers():
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for w in WORKLOADS.values():
        line = next(line for line in page.splitlines() if line.startswith(f"| {w.name} |"))
        assert line.endswith(f"| {w.training:,}, {w.queries:,}, {w.checkpoints} |")
