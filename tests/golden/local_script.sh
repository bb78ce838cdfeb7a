#!/bin/bash
# me-1-abc
export HPCHARVEST_VIRTUAL_NODES=1
export HPCHARVEST_NODES="${HPCHARVEST_BATCH_NODELIST}"
export HPCHARVEST_BATCH_ID="${HPCHARVEST_BATCH_JOBID%%+*}"
export HPCHARVEST_RESTART="${HPCHARVEST_BATCH_RESTART:-0}"
export HPCHARVEST_DEADLINE="${HPCHARVEST_BATCH_DEADLINE}"
: "${HPCHARVEST_DEADLINE:=$(( $(date +%s) + 90 ))}"
module load {python}
export PATH='/opt/with space:/opt/b':"$PATH"
exec /usr/bin/python3 -m hpcharvest.jumbo '/work/it'"'"'s $HOME'
