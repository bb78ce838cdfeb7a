#!/bin/bash
#PBS -N harvester_id-1-0a1b2c
#PBS -S /bin/bash
#PBS -l nodes=1:ppn=16:gpus=1
#PBS -l walltime=02:00:00
#PBS -r n
#PBS -m n
#PBS -q batch
HPCHARVEST_STARTS=/path/to/work_dir/harvester_id/allocations/1/start
export HPCHARVEST_NODES="$(awk '!seen[$0]++' "$PBS_NODEFILE" | paste -sd, -)"
export HPCHARVEST_BATCH_ID="${PBS_JOBID}"
export HPCHARVEST_RESTART="$(n=0; until mkdir "$HPCHARVEST_STARTS.$PBS_JOBID.$n" 2>/dev/null; do [ -d "$HPCHARVEST_STARTS.$PBS_JOBID.$n" ] || break; n=$((n + 1)); done; echo "$n")"
export HPCHARVEST_DEADLINE=""
: "${HPCHARVEST_DEADLINE:=$(( $(date +%s) + 7200 ))}"

exec /usr/bin/python3 -I /path/to/work_dir/harvester_id/runner-DIGEST.zip /path/to/work_dir/harvester_id/allocations/1
