#!/bin/bash
# parsl.block-0.abc
export HPCHARVEST_VIRTUAL_NODES=1
export JOBNAME=parsl.block-0.abc
export PARSL_CORES=8
module load python
process_worker_pool.py --port=1
