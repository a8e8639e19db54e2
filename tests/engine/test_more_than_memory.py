"""Training data that doesn't fit into the process's memory gets the scores that it has anyway."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from headwater import TracInCP

# An image of 128 × 128; all of them are 1.2 GiB.
WIDTH, N, GIGABYTE = 128 * 128, 19_000, 2**30

PROGRAM = """
import json, resource, sys
import numpy as np
path, folder = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))
import torch
torch.set_num_threads(1)
from tests.engine.test_more_than_memory import answers
try:
    np.fromfile(path, dtype=np.float32)
    fits = True
except MemoryError:
    fits = False
answers(path, folder)
print(json.dumps(fits))
"""


class Images(Dataset):
    """Rows of a file, read when they are asked for."""

    def __init__(self, path):
        self.rows = np.memmap(path, dtype=np.float32, mode="r", shape=(N, WIDTH))

    def __len__(self):
        return N

    def __getitem__(self, index):
        return torch.from_numpy(np.array(self.rows[index])), index % 3


def answers(path, folder) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, 4), nn.Tanh(), nn.Linear(4, 3))
    loss = nn.CrossEntropyLoss(reduction="none")
    estimator = TracInCP(
        model, Images(path), [(model.state_dict(), 0.3)], loss_fn=loss, batch_size=64
    )
    queries = torch.randn(2, WIDTH), torch.tensor([2, 0])
    torch.save(tuple(estimator.influence(*queries, k=50)), f"{folder}/top.pt")
    estimator.attribute(*queries).to_csv(f"{folder}/scores.csv")


@pytest.mark.end_to_end
@pytest.mark.skipif(sys.platform != "linux", reason="limits of data are Linux's")
def test_more_than_a_gigabyte_goes_through_a_process_that_may_have_one(tmp_path):
    path = tmp_path / "images"
    drawn = np.random.default_rng(0)
    with path.open("wb") as file:
        # Each begins with numbers of its own; the rest are holes, which read as zeros.
        for number in range(N):
            file.seek(number * WIDTH * 4)
            file.write(drawn.standard_normal(16, dtype=np.float32).tobytes())
        file.truncate(N * WIDTH * 4)
    assert path.stat().st_size > GIGABYTE
    limited, free = tmp_path / "limited", tmp_path / "free"
    limited.mkdir()
    free.mkdir()
    command = [sys.executable, "-c", PROGRAM, str(path), str(limited)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) is False, "the limit limits nothing"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        answers(path, free)
    finally:
        torch.set_num_threads(threads)
    top, expected = torch.load(limited / "top.pt"), torch.load(free / "top.pt")
    assert all(map(torch.equal, top, expected))
    assert (limited / "scores.csv").read_bytes() == (free / "scores.csv").read_bytes()
    assert len((free / "scores.csv").read_text().splitlines()) == N + 1
