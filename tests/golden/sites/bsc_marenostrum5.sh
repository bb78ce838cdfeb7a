#!/bin/bash
#SBATCH --job-name=harvester_id-1-0a1b2c
#SBATCH --nodes=1
#SBATCH --time=24:00:00
#SBATCH --output=/path/to/work_dir/harvester_id/allocations/1/stdout
#SBATCH --error=/path/to/work_dir/harvester_id/allocations/1/stderr
#SBATCH --open-mode=append
#SBATCH --no-requeue
#SBATCH --signal=B:USR1@120
#SBATCH --exclusive
#SBATCH --mem=0
export HPCHARVEST_NODES="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd, -)"
export HPCHARVEST_BATCH_ID="${SLURM_JOB_ID}"
export HPCHARVEST_RESTART="${SLURM_RESTART_COUNT:-0}"
export HPCHARVEST_DEADLINE="${SLURM_JOB_END_TIME:-}"
: "${HPCHARVEST_DEADLINE:=$(( $(date +%s) + 86400 ))}"

exec /usr/bin/python3 -I /path/to/work_dir/harvester_id/runner-DIGEST.zip /path/to/work_dir/harvester_id/allocations/1
