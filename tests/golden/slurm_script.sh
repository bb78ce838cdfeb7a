#!/bin/bash
#SBATCH --job-name=me-1-abc
#SBATCH --nodes=2
#SBATCH --time=25:01:01
#SBATCH '--output=/work/it'"'"'s 100%%/stdout'
#SBATCH '--error=/work/it'"'"'s 100%%/stderr'
#SBATCH --open-mode=append
#SBATCH --no-requeue
#SBATCH --partition=regular
#SBATCH --account=physics
#SBATCH --qos=premium
#SBATCH --signal=B:USR1@60
#SBATCH --constraint=cpu&haswell
#SBATCH --exclusive
export HPCHARVEST_NODES="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd, -)"
export HPCHARVEST_BATCH_ID="${SLURM_JOB_ID}"
export HPCHARVEST_RESTART="${SLURM_RESTART_COUNT:-0}"
export HPCHARVEST_DEADLINE="${SLURM_JOB_END_TIME:-}"
: "${HPCHARVEST_DEADLINE:=$(( $(date +%s) + 90061 ))}"

exec /usr/bin/python3 -m hpcharvest.jumbo /f
