#!/bin/bash
# me-1-abc
export HPCHARVEST_NODES="${HPCHARVEST_SAGA_NODES}"
export HPCHARVEST_BATCH_ID="${HPCHARVEST_SAGA_ID}"
export HPCHARVEST_RESTART="${HPCHARVEST_SAGA_RESTART:-0}"
export HPCHARVEST_DEADLINE="${HPCHARVEST_SAGA_DEADLINE}"
: "${HPCHARVEST_DEADLINE:=$(( $(date +%s) + 90 ))}"

exec /usr/bin/python3 -m hpcharvest.jumbo /f
