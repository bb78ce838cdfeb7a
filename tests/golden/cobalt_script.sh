#!/bin/bash
#COBALT --attrs mcdram=cache:numa=quad
#COBALT -M me@example.org
# Submitted by: qsub --mode script -n 2 -t 1502 --jobname me-1-abc --cwd '/work/it'"'"'s 100%' -o '/work/it'"'"'s 100%/stdout' -e '/work/it'"'"'s 100%/stderr' --debuglog '/work/it'"'"'s 100%/$jobid.cobaltlog' -q default -A physics script.sh
export HPCHARVEST_NODES="$(awk '!seen[$0]++' "$COBALT_NODEFILE" | paste -sd, -)"
export HPCHARVEST_BATCH_ID="${COBALT_JOBID}"
export HPCHARVEST_RESTART="$(cat *.cobaltlog 2>/dev/null | grep -c 'Info: job successfully preempted')"
export HPCHARVEST_DEADLINE="${COBALT_ENDTIME%%.*}"
: "${HPCHARVEST_DEADLINE:=$(( $(date +%s) + 90061 ))}"

exec /usr/bin/python3 -m hpcharvest.jumbo /f
