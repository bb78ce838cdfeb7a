"""radical.saga itself: what it is asked to do, its errors made ours. Untyped upstream, and so `Any` here."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Sequence
from typing import Any, Final, Protocol

from hpcharvest.providers.saga_command.records import Record, Wish, attributes

OUTAGE: Final = re.compile(
    r"[Uu]nable to contact|cannot connect|[Cc]onnection (refused|reset|timed out)|connect failure|Communication failure"
    r"|[Tt]imed out|temporarily|LSF is down|server is down|Munge|No route to host"
)
"""Words of batch systems, in SAGA's errors, that are no refusal: SAGA itself has one kind of error for both."""


class Unusable(Exception):
    """radical.saga cannot be used on this Python; the message says why."""


class Unreachable(Exception):
    """SAGA did not reach the batch system: nothing is known."""


class Refused(Exception):
    """SAGA or the batch system said no."""


class Reach(Protocol):
    """What is asked of SAGA."""

    def submit(self, wish: Wish, record: Record) -> str:
        """Submit, and give SAGA's id."""

    def state(self, saga_id: str) -> str | None:
        """Give SAGA's word for a batch job's state; None: it does not know it."""

    def ids(self) -> Sequence[str]:
        """Give SAGA's ids of the user's batch jobs."""

    def name(self, saga_id: str) -> str:
        """Give a batch job's name; empty: SAGA does not know it."""

    def cancel(self, saga_id: str) -> None:
        """End it. That it is over already is no error."""


def load() -> Any:
    """Import radical.saga. Raises Unusable."""
    try:
        return importlib.import_module("radical.saga")
    except Exception as error:  # it, and the many packages below it, break in many ways on a Python that is too new
        raise Unusable(f"{type(error).__name__}: {error}") from error


class SagaReach:
    """A batch system, by the URL of SAGA's resource manager, such as `slurm://localhost/`."""

    def __init__(self, url: str) -> None:
        self._saga = load()
        try:
            self._service = self._saga.job.Service(url)
        except Exception as error:
            raise Unreachable(f"SAGA does not reach {url}: {_words(error)}") from error

    def submit(self, wish: Wish, record: Record) -> str:
        """Submit `start.sh` of a record, with all cores of so many nodes; give SAGA's id.

        SAGA counts walltimes in whole minutes: it is given one more, as `start.sh` itself keeps to the seconds.
        """
        told = self._saga.job.Description()
        told.executable = "/bin/sh"
        told.arguments = [str(record.folder / "start.sh")]
        told.name = wish.tag
        told.working_directory = str(record.folder)
        told.output, told.error = str(record.folder / "out"), str(record.folder / "err")
        told.total_cpu_count = wish.nodes * wish.cores
        told.processes_per_host = wish.cores
        told.wall_time_limit = math.ceil(wish.walltime_s / 60) + 1
        if wish.queue:
            told.queue = wish.queue
        if wish.project:
            told.project = wish.project
        try:
            for name, value in attributes(wish.attributes).items():
                told.set_attribute(name, value)
            job = self._service.create_job(told)
            job.run()
        except Exception as error:
            words = _words(error)
            raise (Unreachable if OUTAGE.search(words) else Refused)(words) from error
        return str(job.id)

    def state(self, saga_id: str) -> str | None:
        """Give SAGA's word for a batch job's state; None: it does not know it."""
        try:
            return str(self._service.get_job(saga_id).state)
        except (self._saga.DoesNotExist, self._saga.BadParameter):  # the latter of `fork://`
            return None
        except Exception as error:
            raise Unreachable(_words(error)) from error

    def ids(self) -> Sequence[str]:
        """Give SAGA's ids of the user's batch jobs."""
        try:
            return [str(one) for one in self._service.list()]
        except Exception as error:
            raise Unreachable(_words(error)) from error

    def name(self, saga_id: str) -> str:
        """Give a batch job's name; empty: SAGA does not know it."""
        try:
            return str(self._service.get_job(saga_id).name or "")
        except self._saga.SagaException:
            return ""

    def cancel(self, saga_id: str) -> None:
        """End it. That it is over already is no error."""
        try:
            job = self._service.get_job(saga_id)
            if job.state not in {"Done", "Failed", "Canceled"}:
                job.cancel()
        except (self._saga.DoesNotExist, self._saga.BadParameter):
            return
        except Exception as error:
            raise Unreachable(_words(error)) from error

    def close(self) -> None:
        """Let go of its shells."""
        self._service.close()


def _words(error: Exception) -> str:
    """Give SAGA's words, in which are those of the batch system, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines)[:1000] or type(error).__name__
