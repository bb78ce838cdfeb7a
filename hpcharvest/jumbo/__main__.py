"""`python -m hpcharvest.jumbo FOLDER`: run what is in an allocation's folder, on the allocation's first node.

The environment is described in `messenger.protocol`, the exit codes in `messenger.protocol.ExitCode`. What the runner
has to say about itself goes to stderr.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hpcharvest.clock import SystemClock
from hpcharvest.errors import ConfigurationError, MessageNotUnderstood, StorageUnavailable
from hpcharvest.jumbo import kin, surroundings
from hpcharvest.jumbo.head import Head
from hpcharvest.jumbo.pen import Pen
from hpcharvest.jumbo.supervisor import Supervisor
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import ExitCode, Manifest, RunnerStarted
from hpcharvest.model.words import counted

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> ExitCode:
    """Run an allocation; return how to exit."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    if len(arguments) != 1:
        log.error("one argument is wanted: the folder of the allocation")
        return ExitCode.USAGE
    return _safely(lambda: _run(Mailbox(Path(arguments[0]).absolute())))


def _safely(run: Callable[[], ExitCode]) -> ExitCode:
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


def _run(mailbox: Mailbox) -> ExitCode:
    manifest = mailbox.read_manifest()
    if not manifest.event_tasks:
        return _head(mailbox, manifest, 0)
    return Supervisor(lambda life: _safely(lambda: _head_of_nodes(mailbox, manifest, life))).supervise()


def _head_of_nodes(mailbox: Mailbox, manifest: Manifest, life: int) -> ExitCode:
    """Be a head of event ranges. RuntimeError: its nodes are there, and it could not take them over (yet)."""
    try:
        return _head(mailbox, manifest, life)
    except StorageUnavailable as error:
        if life:
            raise RuntimeError(f"head {life} cannot take over: {error}") from error
        raise


def _head(mailbox: Mailbox, manifest: Manifest, life: int) -> ExitCode:
    where, clock = surroundings.read(os.environ), SystemClock()
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
    return Head(manifest, where, mailbox, pen, clock, life=life, known=standing.records).run(standing.done)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
