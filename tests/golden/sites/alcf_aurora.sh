#!/bin/bash
#PBS -N harvester_id-1-0a1b2c
#PBS -S /bin/bash
#PBS -l select=1:ncpus=102:ngpus=6
#PBS -l place=scatter
#PBS -l walltime=24:00:00
#PBS -r n
#PBS -m n
#PBS -q capacity
#PBS -l filesystems=home:flare
HPCHARVEST_STARTS=/path/to/work_dir/harvester_id/allocations/1/start
export HPCHARVEST_NODES="$(awk '!seen[$0]++' "$PBS_NODEFILE" | paste -sd, -)"
export HPCHARVEST_BATCH_ID="${PBS_JOBID}"
export HPCHARVEST_RESTART="$(n=0; until mkdir "$HPCHARVEST_STARTS.$PBS_JOBID.$n" 2>/dev/null; do [ -d "$HPCHARVEST_STARTS.$PBS_JOBID.$n" ] || break; n=$((n + 1)); done; echo "$n")"
export HPCHARVEST_DEADLINE=""
: "${HPCHARVEST_DEADLINE:=$(( $(date +%s) + 86400 ))}"
# Compute nodes reach the outside by this proxy only. hpcharvest needs nothing from there; payloads may.
export http_proxy="${http_proxy:-http://proxy.alcf.anl.gov:3128}"
export https_proxy="${https_proxy:-$http_proxy}"
export ftp_proxy="${ftp_proxy:-$http_proxy}"
export no_proxy="${no_proxy:-localhost,127.0.0.0/8,.alcf.anl.gov}"
exec /usr/bin/python3 -I /path/to/work_dir/harvester_id/runner-DIGEST.zip /path/to/work_dir/harvester_id/allocations/1
