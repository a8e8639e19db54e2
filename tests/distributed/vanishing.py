"""Two hosts, as network namespaces with a link between them that breaks while one is waited for.

Run by file, in a network namespace of its own: `two_hosts folder`. That starts both ranks.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch.utils.data import Dataset

from headwater.distributed import keep_alive
from tests.estimators.small import N, dataset, make

ADDRESSES = ("10.77.0.1", "10.77.0.2")
LINKS = ("headwater0", "headwater1")
# In the place of half a minute.
SECONDS = 3


class Reading(Dataset):
    """Rows; rank 1 never gets to see the last one.

    Args:
        folder: where it says that it is there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Any:
        if dist.get_rank() == 1 and index == 4:
            (self._folder / "waited for").touch()
            time.sleep(300)
        return dataset()[index]


def rank(number: int, folder: Path) -> None:
    """Asks for scores, and writes down what came of it, and when."""
    torch.set_num_threads(1)
    keep_alive._OPTIONS = (
        ("TCP_KEEPIDLE", 1),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", SECONDS - 1),
        ("TCP_USER_TIMEOUT", SECONDS * 1000),
    )
    os.environ["GLOO_SOCKET_IFNAME"] = LINKS[number]
    dist.init_process_group(
        "gloo",
        init_method=f"tcp://{ADDRESSES[0]}:29577",
        rank=number,
        world_size=2,
        timeout=timedelta(seconds=120),
    )
    try:
        make(influence_src_dataset=Reading(folder), batch_size=3).influence()
    except Exception as error:
        (folder / "told").write_text(f"{type(error).__name__}: {error}")
    os._exit(0)


def two_hosts(folder: Path) -> None:
    """Lets rank 0 wait for rank 1, and takes the link away."""
    elsewhere = subprocess.Popen(["unshare", "-n", "sleep", "300"])
    there = ["nsenter", "-t", str(elsewhere.pid), "-n"]
    here = os.readlink("/proc/self/ns/net")
    while os.readlink(f"/proc/{elsewhere.pid}/ns/net") == here:
        time.sleep(0.05)
    _do(
        f"ip link add {LINKS[0]} type veth peer name {LINKS[1]} netns {elsewhere.pid}",
        f"ip addr add {ADDRESSES[0]}/24 dev {LINKS[0]}",
        f"ip link set {LINKS[0]} up",
        "ip link set lo up",
    )
    for command in (
        f"ip addr add {ADDRESSES[1]}/24 dev {LINKS[1]}",
        f"ip link set {LINKS[1]} up",
        "ip link set lo up",
    ):
        _do(" ".join([*there, command]))
    own = [sys.executable, "-m", "tests.distributed.vanishing"]
    first = subprocess.Popen([*own, "0", str(folder)])
    second = subprocess.Popen([*there, *own, "1", str(folder)])
    try:
        while not (folder / "waited for").exists() and second.poll() is None:
            time.sleep(0.05)
        # Time for rank 0 to come to where it waits.
        time.sleep(1)
        _do(f"ip link set {LINKS[0]} down")
        begun = time.monotonic()
        first.wait(timeout=60)
        (folder / "seconds").write_text(str(time.monotonic() - begun))
    finally:
        for process in (first, second, elsewhere):
            process.kill()


def _do(*commands: str) -> None:
    for command in commands:
        subprocess.run(command.split(), check=True)


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    two_hosts(where) if what == "two_hosts" else rank(int(what), where)
