"""The batch script: the same for every dialect but for its directives and what it calls its variables. Pure text."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hpcharvest.providers.dialect import BatchRequest, Dialect

SCRIPT = """\
#!/bin/bash
{directives}
export HPCHARVEST_NODES="{nodes}"
export HPCHARVEST_BATCH_ID="{batch_id}"
export HPCHARVEST_RESTART="{restart}"
export HPCHARVEST_DEADLINE="{deadline}"
: "${{HPCHARVEST_DEADLINE:=$(( $(date +%s) + {walltime_s} ))}}"
{prologue}
exec {runner}
"""


def render(dialect: Dialect, request: BatchRequest, runner: Sequence[str], prologue: str = "") -> str:
    """Give the script that starts `runner` (an argv) inside the batch job; `prologue` is the site's own shell text."""
    environment = dialect.environment
    return SCRIPT.format(
        directives="\n".join(dialect.directives(request)),
        nodes=environment.nodes,
        batch_id=environment.batch_id,
        restart=environment.restart,
        deadline=environment.deadline,
        walltime_s=request.shape.walltime_s,
        prologue=prologue.rstrip("\n"),
        runner=shlex.join(runner),
    )
