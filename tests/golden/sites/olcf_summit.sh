#!/bin/bash
# Submitted by: bsub -rn -J harvester_id-1-0a1b2c -W 02:00 -cwd /path/to/work_dir/harvester_id/allocations/1 -o /path/to/work_dir/harvester_id/allocations/1/stdout -e /path/to/work_dir/harvester_id/allocations/1/stderr -nnodes 1 -q batch -wa USR1 -wt 2 /path/to/work_dir/harvester_id/allocations/1/script.sh
export HPCHARVEST_NODES="$(awk '!n[$0]++ {h[++k]=$0} END {for (i = (k > 1 && n[h[1]] == 1 && n[h[2]] > 1) + 1; i <= k; i++) print h[i]}' "$LSB_DJOB_HOSTFILE" | paste -sd, -)"
export HPCHARVEST_BATCH_ID="${LSB_JOBID}"
export HPCHARVEST_RESTART="$([ "${LSB_RESTART:-N}" = Y ] && echo 1 || echo 0)"
export HPCHARVEST_DEADLINE=""
: "${HPCHARVEST_DEADLINE:=$(( $(date +%s) + 7200 ))}"

exec /usr/bin/python3 -I /path/to/work_dir/harvester_id/runner-DIGEST.zip /path/to/work_dir/harvester_id/allocations/1
