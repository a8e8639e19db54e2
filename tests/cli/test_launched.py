"""What the command makes of a launcher's environment, without other processes."""

import pytest
import torch

from headwater import InputError
from headwater.cli.launched import Launched

SET = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}


def test_processes_are_found_where_a_launcher_set_them():
    assert Launched.found(SET) == Launched(rank=3, size=4, local_rank=1)
    assert Launched.found({}) is None
    assert Launched.found({**SET, "WORLD_SIZE": "1"}) is None


def test_processes_that_could_not_find_each_other_are_refused(headwater, monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    for name in ("WORLD_SIZE", "RANK", "MASTER_PORT"):
        monkeypatch.setenv(name, SET[name])
    status, out, err = headwater("--version")
    assert (status, out) == (3, "")
    assert "WORLD_SIZE is 4 and MASTER_ADDR is not set" in err
    assert "start them with torchrun" in err


def test_a_model_on_a_gpu_is_on_the_one_of_its_process(monkeypatch):
    begun = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.distributed, "init_process_group", begun.append)
    Launched(rank=3, size=4, local_rank=1).join(torch.device("cuda:1"))
    Launched(rank=3, size=4, local_rank=1).join(torch.device("cpu"))
    assert begun == ["nccl", "gloo"]
    with pytest.raises(InputError, match="the model is on cuda:0, and process 1 of a machine"):
        Launched(rank=3, size=4, local_rank=1).join(torch.device("cuda:0"))
    with pytest.raises(InputError, match="start as many processes as there are GPUs"):
        Launched(rank=3, size=4, local_rank=2).join(torch.device("cuda:0"))
