"""Memory that is bounded by the budget and not by the number of training examples, measured."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource, sys
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from headwater import TracInCP

batches, budget, answer = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(1)
QUERIES, SIZE = 64, 500

class Batches(Dataset):
    '''Batches made when they are asked for; none is kept.'''
    def __len__(self):
        return batches
    def __getitem__(self, index):
        if index >= batches:
            raise IndexError
        generator = torch.Generator().manual_seed(index)
        rows = torch.randn(SIZE, 20, generator=generator)
        return rows, torch.randint(3, (SIZE,), generator=generator)

model = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 3))
states = [{k: v * scale for k, v in model.state_dict().items()} for scale in (1.0, 1.3, 0.7)]
estimator = TracInCP(
    model,
    DataLoader(Batches(), batch_size=None),
    states,
    loss_fn=nn.CrossEntropyLoss(reduction="none"),
    learning_rates=[0.3, 0.07, 0.1],
    memory_budget=budget,
)
queries = torch.randn(QUERIES, 20), torch.randint(3, (QUERIES,))
if answer == "top-k":
    top = estimator.influence(*queries, k=3)
    assert top.indices.shape == (QUERIES, 3)
else:
    assert estimator.influence().shape == (batches * SIZE,)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps(peak * (1 if sys.platform == "darwin" else 1024)))
"""

FEW, MANY = 20, 400


def peak_bytes(batches: int, budget: str, answer: str) -> int:
    command = [sys.executable, "-c", PROGRAM, str(batches), budget, answer]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    "budget",
    ["64MB", "256KB"],
    ids=["all checkpoints resident", "a span of batches at a time"],
)
def test_memory_of_a_small_k_does_not_grow_with_the_training_set(budget):
    few, many = peak_bytes(FEW, budget, "top-k"), peak_bytes(MANY, budget, "top-k")
    # All scores of the many would be 51 MB, and the training set itself 19 MB.
    assert many - few < 4 * 2**20


@pytest.mark.end_to_end
def test_memory_of_self_influence_grows_by_the_result_only():
    few, many = (peak_bytes(n, "256KB", "self-influence") for n in (FEW, MANY))
    # The result of the many takes 0.8 MB.
    assert many - few < 4 * 2**20
