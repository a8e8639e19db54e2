"""The scripts in `examples/` are understood by what they call."""

import os
import subprocess

import pytest
from torch.distributed.run import get_args_parser

from tests.docs.documents import ROOT

SLURM = ROOT / "examples" / "slurm.sh"
# Stand-ins for what a cluster has; torchrun says what it was asked, a word a line.
PROGRAMS = {
    "scontrol": 'test "$*" = "show hostnames node[1-2]" && printf "node1\\nnode2\\n"',
    "srun": 'test "$1" = --kill-on-bad-exit=1 && shift && exec "$@"',
    "torchrun": 'printf "%s\\n" "$@" end-of-command',
}


@pytest.mark.skipif(os.name == "nt", reason="there is no bash")
def test_the_script_for_slurm_is_understood_by_bash_torchrun_and_the_command(tmp_path):
    click = pytest.importorskip("click")
    from headwater.cli.app import app

    subprocess.run(["bash", "-n", SLURM], check=True)
    for name, body in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_ID": "77",
        "SLURM_GPUS_ON_NODE": "4",
    }
    environment = {**os.environ, **slurm, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    said = subprocess.run(
        [SLURM], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    commands = [one.split("\n")[:-1] for one in said.split("end-of-command\n")[:-1]]
    assert len(commands) == 3
    for command in commands:
        asked = get_args_parser().parse_args(command)
        assert (asked.nnodes, asked.nproc_per_node) == ("2", "4")
        assert (asked.rdzv_endpoint, asked.rdzv_backend) == ("node1:29500", "c10d")
        assert (asked.module, asked.training_script) == (True, "headwater")
        group, words = app, asked.training_script_args
        while isinstance(group, click.Group):
            name, group, words = group.resolve_command(click.Context(group), list(words))
        # Raises for an option that isn't known, and for what an option can't be.
        with group.make_context(name, list(words)) as context:
            assert context.params["attribution"].name == "attribution.py"
