#!/bin/bash
#COBALT --attrs mcdram=cache:numa=quad
# Submitted by: qsub --mode script -n 128 -t 180 --jobname harvester_id-1-0a1b2c --cwd /path/to/work_dir/harvester_id/allocations/1 -o /path/to/work_dir/harvester_id/allocations/1/stdout -e /path/to/work_dir/harvester_id/allocations/1/stderr --debuglog '/path/to/work_dir/harvester_id/allocations/1/$jobid.cobaltlog' -q default script.sh
export HPCHARVEST_NODES="$(awk '!seen[$0]++' "$COBALT_NODEFILE" | paste -sd, -)"
export HPCHARVEST_BATCH_ID="${COBALT_JOBID}"
export HPCHARVEST_RESTART="$(cat *.cobaltlog 2>/dev/null | grep -c 'Info: job successfully preempted')"
export HPCHARVEST_DEADLINE="${COBALT_ENDTIME%%.*}"
: "${HPCHARVEST_DEADLINE:=$(( $(date +%s) + 10800 ))}"

exec /usr/bin/python3 -I /path/to/work_dir/harvester_id/runner-DIGEST.zip /path/to/work_dir/harvester_id/allocations/1
