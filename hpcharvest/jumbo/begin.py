"""How a head begins: it takes the start in the journal, ends what an earlier one left running, and runs."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

from hpcharvest.clock import SystemClock
from hpcharvest.errors import ConfigurationError, MessageNotUnderstood, StorageUnavailable
from hpcharvest.jumbo import kin
from hpcharvest.jumbo.head import Head
from hpcharvest.jumbo.links.link import HeadLink
from hpcharvest.jumbo.pen import Pen
from hpcharvest.jumbo.surroundings import Surroundings
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import ExitCode, Manifest, RunnerLeft, RunnerStarted
from hpcharvest.model.words import counted

log = logging.getLogger(__name__)


def say_to_stderr() -> None:
    """Let what the runner has to say about itself go to stderr."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)


def safely(run: Callable[[], ExitCode]) -> ExitCode:
    """Let what is known to go wrong be said, and become an exit code."""
    try:
        return run()
    except ConfigurationError as error:
        log.error("%s", error)  # noqa: TRY400  # the message says it all
        return ExitCode.USAGE
    except MessageNotUnderstood as error:
        log.error("%s", error)  # noqa: TRY400  # the message says it all
        return ExitCode.UNREADABLE
    except StorageUnavailable as error:
        log.error("%s", error)  # noqa: TRY400  # the message says it all
        return ExitCode.UNPUBLISHED


def head(
    mailbox: Mailbox, manifest: Manifest, where: Surroundings, life: int = 0, mpi: HeadLink | None = None
) -> ExitCode:
    """Run an allocation. `life`: which head of this start it is; `mpi`: the link to its nodes, if they are ranks.

    Errors as `safely` knows them.
    """
    clock = SystemClock()
    pen = Pen(mailbox.journal, restart=where.restart, flush_s=manifest.flush_s)
    started = RunnerStarted(
        at=clock.wall(), batch_id=where.batch_id, nodes=where.nodes, restart=where.restart, life=life
    )
    standing = pen.take_start(started)
    if pen.fenced:
        log.error("the journal is closed, or another start of this batch job took it: nothing was run")
        return ExitCode.FENCED
    tasks = counted(len(manifest.tasks), "job")
    more = f", and event ranges of {counted(len(manifest.event_tasks), 'job')}," if manifest.event_tasks else ""
    log.info("allocation %s: %s%s on %s", manifest.allocation, tasks, more, ",".join(where.nodes))
    if where.restart:
        kin.send(kin.of_other_starts(manifest.tag, where.restart), signal.SIGKILL)
    if life:
        kin.send(kin.of_tasks(manifest.tag, where.restart), signal.SIGKILL)
    try:
        made = Head(manifest, where, mailbox, pen, clock, life=life, known=standing.records, mpi=mpi)
    except ConfigurationError as error:
        pen.add(RunnerLeft(at=clock.wall(), reason=str(error)), clock.steady())
        pen.flush(clock.steady())
        raise
    return made.run(standing.done)
