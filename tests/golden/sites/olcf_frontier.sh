#!/bin/bash
#SBATCH --job-name=harvester_id-1-0a1b2c
#SBATCH --nodes=1
#SBATCH --time=02:00:00
#SBATCH --output=/path/to/work_dir/harvester_id/allocations/1/stdout
#SBATCH --error=/path/to/work_dir/harvester_id/allocations/1/stderr
#SBATCH --open-mode=append
#SBATCH --no-requeue
#SBATCH --partition=batch
#SBATCH --signal=B:USR1@120
#SBATCH --gpus-per-node=8
export HPCHARVEST_NODES="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd, -)"
export HPCHARVEST_BATCH_ID="${SLURM_JOB_ID}"
export HPCHARVEST_RESTART="${SLURM_RESTART_COUNT:-0}"
export HPCHARVEST_DEADLINE="${SLURM_JOB_END_TIME:-}"
: "${HPCHARVEST_DEADLINE:=$(( $(date +%s) + 7200 ))}"
# Compute nodes reach the outside by this proxy only. hpcharvest needs nothing from there; payloads may.
export http_proxy="${http_proxy:-http://proxy.ccs.ornl.gov:3128}"
export https_proxy="${https_proxy:-$http_proxy}"
export no_proxy="${no_proxy:-localhost,127.0.0.0/8,.ccs.ornl.gov}"
exec /usr/bin/python3 -I /path/to/work_dir/harvester_id/runner-DIGEST.zip /path/to/work_dir/harvester_id/allocations/1
