"""Several commands one after the other, in the processes that torchrun started this in."""

import json
import os
import sys

import torch
from torch import distributed

from headwater.cli.main import main

if __name__ == "__main__":
    torch.set_num_threads(1)
    # A second group over the same store would meet what the first one left there.
    distributed.destroy_process_group = lambda: None
    for number, command in enumerate(json.loads(sys.argv[1])):
        status = main(command)
        with open(f"status-{number}-{os.environ['RANK']}", "w", encoding="utf-8") as file:
            file.write(str(status))
        if status:
            sys.exit(status)
