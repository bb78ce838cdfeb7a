"""`python -m hpcharvest.jumbo FOLDER`: run what is in an allocation's folder, on the allocation's first node.

The environment is described in `messenger.protocol`, the exit codes in `messenger.protocol.ExitCode`. What the runner
has to say about itself goes to stderr.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from hpcharvest.clock import SystemClock
from hpcharvest.errors import ConfigurationError, MessageNotUnderstood, StorageUnavailable
from hpcharvest.jumbo import kin, surroundings
from hpcharvest.jumbo.head import Head
from hpcharvest.jumbo.pen import Pen
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import ExitCode, RunnerStarted

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> ExitCode:
    """Run an allocation; return how to exit."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    if len(arguments) != 1:
        log.error("one argument is wanted: the folder of the allocation")
        return ExitCode.USAGE
    try:
        return _run(Mailbox(Path(arguments[0]).absolute()))
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
    where, clock = surroundings.read(os.environ), SystemClock()
    manifest = mailbox.read_manifest()
    pen = Pen(mailbox.journal, restart=where.restart, flush_s=manifest.flush_s)
    started = RunnerStarted(at=clock.wall(), batch_id=where.batch_id, nodes=where.nodes, restart=where.restart)
    standing = pen.take_start(started)
    if pen.fenced:
        log.error("the journal is closed, or another start of this batch job took it: nothing was run")
        return ExitCode.FENCED
    log.info("allocation %s: %s tasks on %s", manifest.allocation, len(manifest.tasks), ",".join(where.nodes))
    if where.restart:
        kin.send(kin.of_other_starts(manifest.tag, where.restart), signal.SIGKILL)
    return Head(manifest, where, mailbox, pen, clock).run(standing.done)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
