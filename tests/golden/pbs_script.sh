#!/bin/bash
#PBS -N me-1-abc
#PBS -S /bin/bash
#PBS -l select=3:ncpus=64:ngpus=4:system=polaris
#PBS -l walltime=25:01:01
#PBS -r n
#PBS -m n
#PBS -q prod
#PBS -A physics
#PBS -l filesystems=home:eagle
#PBS -l place=scatter:excl
HPCHARVEST_STARTS='/work/it'"'"'s 100%/start'
export HPCHARVEST_NODES="$(awk '!seen[$0]++' "$PBS_NODEFILE" | paste -sd, -)"
export HPCHARVEST_BATCH_ID="${PBS_JOBID}"
export HPCHARVEST_RESTART="$(n=0; until mkdir "$HPCHARVEST_STARTS.$PBS_JOBID.$n" 2>/dev/null; do [ -d "$HPCHARVEST_STARTS.$PBS_JOBID.$n" ] || break; n=$((n + 1)); done; echo "$n")"
export HPCHARVEST_DEADLINE=""
: "${HPCHARVEST_DEADLINE:=$(( $(date +%s) + 90061 ))}"

exec /usr/bin/python3 -m hpcharvest.jumbo /f
