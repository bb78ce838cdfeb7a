#!/bin/bash
# harvester_id-1-0a1b2c
export HPCHARVEST_VIRTUAL_NODES=1
export HPCHARVEST_NODES="${HPCHARVEST_BATCH_NODELIST}"
export HPCHARVEST_BATCH_ID="${HPCHARVEST_BATCH_JOBID%%+*}"
export HPCHARVEST_RESTART="${HPCHARVEST_BATCH_RESTART:-0}"
export HPCHARVEST_DEADLINE="${HPCHARVEST_BATCH_DEADLINE}"
: "${HPCHARVEST_DEADLINE:=$(( $(date +%s) + 86400 ))}"

exec /usr/bin/python3 -I /path/to/work_dir/harvester_id/runner-DIGEST.zip /path/to/work_dir/harvester_id/allocations/1
