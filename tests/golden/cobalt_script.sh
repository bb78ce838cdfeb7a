#!/bin/bash
#COBALT --attrs mcdram=cache:numa=quad
#COBALT -M me@example.org
# me-1-abc
export HPCHARVEST_NODES="$(awk '!seen[$0]++' "$COBALT_NODEFILE" | paste -sd, -)"
export HPCHARVEST_BATCH_ID="${COBALT_JOBID}"
export HPCHARVEST_RESTART="$(cat *.cobaltlog 2>/dev/null | grep -c 'Info: job successfully preempted')"
export HPCHARVEST_DEADLINE="${COBALT_ENDTIME%%.*}"
: "${HPCHARVEST_DEADLINE:=$(( $(date +%s) + 90061 ))}"

exec /usr/bin/python3 -m hpcharvest.jumbo /f
