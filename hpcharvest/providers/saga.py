"""The dialect of whatever radical.saga reaches: `python -m hpcharvest.providers.saga_command` speaks to it.

radical.saga (checked with 1.103.0) is a library, in Python, that keeps shells and threads: it has a process of its own
for each command, and may have a Python of its own.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hpcharvest.errors import BatchUnreachable, ConfigurationError, SubmissionRefused, SubmissionUnknown
from hpcharvest.model.states import BatchState
from hpcharvest.providers.dialect import BatchRequest, BatchStatus, Environment, Gone, Spoken, Vocabulary

UNREACHABLE_EXIT, UNUSABLE_EXIT, REFUSED_EXIT, USAGE_EXIT = 2, 3, 4, 64
"""The exit codes by which the command line says so."""
EXAMPLE: Final = (
    '["python3", "-m", "hpcharvest.providers.saga_command", "--url", "slurm://localhost/", "--folder", "/shared/saga"]'
)
CHECK_S: Final = 120.0
"""So long may radical.saga take to be imported, from a file system that is busy."""

VOCABULARY = Vocabulary(
    words={
        "PENDING": BatchState.PENDING,
        "RUNNING": BatchState.RUNNING,
        "COMPLETED": BatchState.COMPLETED,
        "FAILED": BatchState.FAILED,
        "TIMED_OUT": BatchState.TIMED_OUT,
        "CANCELLED": BatchState.CANCELLED,
    }
)
"""The command line's words. None for preemption and lost nodes: SAGA does not tell them apart from other ends."""


class SagaDialect:
    """Speaks to SAGA through our command line. `cores`: of a node, since SAGA counts in cores."""

    environment = Environment(
        nodes="${HPCHARVEST_SAGA_NODES}",
        batch_id="${HPCHARVEST_SAGA_ID}",
        restart="${HPCHARVEST_SAGA_RESTART:-0}",
        deadline="${HPCHARVEST_SAGA_DEADLINE}",
    )

    def __init__(self, command: Sequence[str], *, cores: int) -> None:
        self._command = tuple(command)
        self._cores = cores

    def directives(self, request: BatchRequest) -> Sequence[str]:
        """Say that all nodes are this very host where there is no batch system; the rest is on the command line."""
        alone = is_one_host(self._command)
        return [f"# {request.tag}", *(["export HPCHARVEST_VIRTUAL_NODES=1"] if alone else ())]

    def submit_argv(self, request: BatchRequest) -> Sequence[str]:
        """Give the command that submits `request.script`. SAGA has no word for a QOS."""
        # SAGA's Slurm takes the QOS so.
        queue = f"{request.shape.partition}:{request.qos}" if request.qos else request.shape.partition
        return [
            *self._command,
            "submit",
            f"--tag={request.tag}",
            f"--nodes={request.shape.nodes}",
            f"--cores={self._cores}",
            f"--walltime={request.shape.walltime_s}",
            f"--warning={request.signal_before_end_s}",
            f"--queue={queue}",
            f"--project={request.account}",
            *(f"--attribute={option}" for option in request.options),
            str(request.script),
        ]

    def read_submitted(self, spoken: Spoken) -> str:
        """Find the batch id. Where SAGA broke in between, the batch job may exist."""
        if spoken.exit_code == UNREACHABLE_EXIT:
            raise BatchUnreachable(_said(spoken))
        if spoken.exit_code != 0:
            known = spoken.exit_code in {REFUSED_EXIT, UNUSABLE_EXIT, USAGE_EXIT}
            raise (SubmissionRefused if known else SubmissionUnknown)(_said(spoken))
        try:
            (line,) = _lines(spoken)
            return str(line["id"])
        except (ValueError, KeyError, RecursionError) as error:
            raise SubmissionUnknown(f"SAGA's answer has no batch id: {spoken.out.strip()!r}") from error

    def status_argv(self) -> Sequence[str]:
        """Ask for all that goes on or ended lately."""
        return [*self._command, "status"]

    def read_status(self, spoken: Spoken) -> Mapping[str, BatchStatus]:
        """Give what was said about each batch job. An answer that is not whole says nothing about any."""
        if spoken.exit_code != 0:
            raise BatchUnreachable(_said(spoken))
        try:
            said = [_status(line) for line in _lines(spoken)]
        except (ValueError, KeyError, RecursionError) as error:
            raise BatchUnreachable(f"SAGA's answer makes no sense: {error!r}") from error
        return {one.id: one for one in said}

    def accounting_argv(self, gone: Gone) -> Sequence[str]:
        """Ask what is kept of batch jobs that ended longer ago."""
        return [*self._command, "status", *gone]

    def read_accounting(self, spoken: Spoken) -> Mapping[str, BatchStatus]:
        """Give what was said about each batch job."""
        return self.read_status(spoken)

    def cancel_argv(self, ids: Sequence[str]) -> Sequence[str]:
        """Give the command that ends these batch jobs, and keeps those that wait from starting."""
        return [*self._command, "cancel", *ids]


def is_one_host(command: Sequence[str]) -> bool:
    """Tell whether SAGA is to start processes on this very host, without a batch system."""
    return any(word.removeprefix("--url=").startswith(("fork:", "local:")) for word in command)


def check(command: Sequence[str], environment: Mapping[str, str], name: str) -> None:
    """Try radical.saga in a process of its own, as it changes the one that imports it. Raises ConfigurationError."""
    pairs = [f"{key}={value}" for key, value in environment.items()]
    try:
        done = subprocess.run(
            ["env", *pairs, *command, "check"],
            capture_output=True,
            timeout=CHECK_S,
            check=False,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"site {name!r}: {command[0]} cannot be asked for radical.saga: {error}") from error
    words = (done.stderr.strip() or f"exit code {done.returncode} without a word").splitlines()[-1]
    if done.returncode == UNUSABLE_EXIT:
        raise ConfigurationError(
            f"site {name!r}: the saga dialect needs the package radical.saga, which cannot be used by {command[0]}: "
            f"{words}. Install hpcharvest[saga] there (netifaces, which it needs, wants a C compiler and Python's "
            "header files), or let batch.command name a Python that has it"
        )
    if done.returncode != 0:
        raise ConfigurationError(f"site {name!r}: batch.command does not work: {words}")


def _lines(spoken: Spoken) -> list[Mapping[str, Any]]:
    """Read lines of JSON, the last of which says how many there are before it. ValueError if they are not whole."""
    found = [json.loads(line) for line in spoken.out.splitlines() if line.strip()]
    if not found or not all(isinstance(line, dict) for line in found) or found[-1].get("lines") != len(found) - 1:
        raise ValueError(f"{len(found)} lines, and no last one that counts them")
    return found[:-1]


def _status(line: Mapping[str, Any]) -> BatchStatus:
    words = str(line.get("words") or line["state"])
    state = VOCABULARY.translate(str(line["state"]))
    return BatchStatus(id=str(line["id"]), state=state, words=words, tag=str(line.get("tag") or ""))


def _said(spoken: Spoken) -> str:
    """Give its last words: before them, SAGA's log may stand there."""
    lines = spoken.err.strip().splitlines()
    return lines[-1].strip() if lines else f"exit code {spoken.exit_code} without a word"
