#!/bin/bash
# headwater on several machines of a SLURM cluster: sbatch examples/slurm.sh
#
# attribution.py, its data, its checkpoints and what is written are on a file system that all
# machines see. Without GPUs, leave out --gpus-per-node, and say PROCESSES=8 sbatch examples/slurm.sh.

#SBATCH --job-name=headwater
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=4
#SBATCH --time=08:00:00

set -euo pipefail

first_machine=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
processes=${PROCESSES:-${SLURM_GPUS_ON_NODE:-1}}

# SLURM starts torchrun once on each machine, and that a process for each GPU. A machine that fails
# ends the others.
headwater() {
    srun --kill-on-bad-exit=1 torchrun \
        --nnodes "$SLURM_JOB_NUM_NODES" \
        --nproc-per-node "$processes" \
        --rdzv-id "$SLURM_JOB_ID" \
        --rdzv-backend c10d \
        --rdzv-endpoint "$first_machine:29500" \
        -m headwater "$@"
}

headwater self-influence attribution.py --top 1000 --out suspects.csv
headwater store build attribution.py grads
headwater store query attribution.py grads --queries 0:200 --k 10 --out answers.parquet
