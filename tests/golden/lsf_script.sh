#!/bin/bash
# Submitted by: bsub -rn -J me-1-abc -W 25:02 -cwd '/work/it'"'"'s 100%' -o '/work/it'"'"'s 100%/stdout' -e '/work/it'"'"'s 100%/stderr' -nnodes 2 -q batch -P physics -wa USR1 -wt 2 -alloc_flags 'smt4 gpumps' -csm y ''"'"'/work/it'"'"'"'"'"'"'"'"'s 100%/script.sh'"'"''
export HPCHARVEST_NODES="$(awk '!n[$0]++ {h[++k]=$0} END {for (i = (k > 1 && n[h[1]] == 1 && n[h[2]] > 1) + 1; i <= k; i++) print h[i]}' "$LSB_DJOB_HOSTFILE" | paste -sd, -)"
export HPCHARVEST_BATCH_ID="${LSB_JOBID}"
export HPCHARVEST_RESTART="$([ "${LSB_RESTART:-N}" = Y ] && echo 1 || echo 0)"
export HPCHARVEST_DEADLINE=""
: "${HPCHARVEST_DEADLINE:=$(( $(date +%s) + 90061 ))}"

exec /usr/bin/python3 -m hpcharvest.jumbo /f
