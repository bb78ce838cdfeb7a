"""The dialect of the embedded batch system (`python -m hpcharvest.sandbox.batch`), for one machine without another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from hpcharvest.errors import BatchUnreachable, SubmissionRefused
from hpcharvest.model.states import BatchState
from hpcharvest.providers.dialect import BatchRequest, BatchStatus, Environment, NoAccounting, Spoken, Vocabulary

UNREACHABLE_EXIT = 2
"""The exit code by which its command line says that the daemon does not answer."""

VOCABULARY = Vocabulary(
    words={
        "PENDING": BatchState.PENDING,
        "RUNNING": BatchState.RUNNING,
        "COMPLETED": BatchState.COMPLETED,
        "FAILED": BatchState.FAILED,
        "TIMEOUT": BatchState.TIMED_OUT,
        "PREEMPTED": BatchState.PREEMPTED,
        "NODE_FAIL": BatchState.NODE_FAILED,
        "CANCELLED": BatchState.CANCELLED,
    }
)


class LocalDialect(NoAccounting):
    """Speaks to the embedded batch system through its command line, whose queue has the jobs that ended, too."""

    environment = Environment(
        nodes="${HPCHARVEST_BATCH_NODELIST}",
        batch_id="${HPCHARVEST_BATCH_JOBID%%+*}",
        restart="${HPCHARVEST_BATCH_RESTART:-0}",
        deadline="${HPCHARVEST_BATCH_DEADLINE}",
    )

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)

    def directives(self, request: BatchRequest) -> Sequence[str]:
        """Say that all nodes are this very host; the rest is on the command line."""
        return [f"# {request.tag}", "export HPCHARVEST_VIRTUAL_NODES=1"]

    def submit_argv(self, request: BatchRequest) -> Sequence[str]:
        """Give the command that submits `request.script`."""
        signal = [f"--signal=USR1@{request.signal_before_end_s}"] if request.signal_before_end_s else []
        return [
            *self._command,
            "submit",
            f"--nodes={request.shape.nodes}",
            f"--walltime={request.shape.walltime_s}",
            f"--name={request.tag}",
            "--no-requeue",
            f"--output={request.folder / 'stdout'}",
            f"--error={request.folder / 'stderr'}",
            *signal,
            *request.options,
            str(request.script),
        ]

    def read_submitted(self, spoken: Spoken) -> str:
        """Find the batch id: it stands alone."""
        if spoken.exit_code == UNREACHABLE_EXIT:
            raise BatchUnreachable(spoken.said())
        if spoken.exit_code != 0:
            raise SubmissionRefused(spoken.said())
        return spoken.out.strip()

    def status_argv(self) -> Sequence[str]:
        """Ask for all jobs, also those that ended lately."""
        return [*self._command, "status", "--json"]

    def read_status(self, spoken: Spoken) -> Mapping[str, BatchStatus]:
        """Give what was said about each job."""
        if spoken.exit_code != 0:
            raise BatchUnreachable(spoken.said())
        try:
            rows = json.loads(spoken.out)
            if not isinstance(rows, list):
                raise TypeError(f"{type(rows).__name__} instead of a list")  # noqa: TRY301 - told with the others
            said = [_status(row) for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise BatchUnreachable(f"the batch system's answer makes no sense: {error!r}") from error
        return {one.id: one for one in said}

    def cancel_argv(self, ids: Sequence[str]) -> Sequence[str]:
        """Give the command that ends these jobs."""
        return [*self._command, "cancel", *ids]


def _status(row: Mapping[str, object]) -> BatchStatus:
    word = str(row["state"])
    words = " ".join(str(part) for part in (word, row.get("reason")) if part)
    return BatchStatus(id=str(row["id"]), state=VOCABULARY.translate(word), words=words, tag=str(row.get("name") or ""))
