"""`python -m hpcharvest.jumbo FOLDER`: run what is in an allocation's folder, on the allocation's first node.

The environment is described in `messenger.protocol`, the exit codes in `messenger.protocol.ExitCode`. What the runner
has to say about itself goes to stderr.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hpcharvest.jumbo import begin, surroundings
from hpcharvest.jumbo.rank import launch
from hpcharvest.jumbo.supervisor import Supervisor
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import ExitCode, LinkName

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> ExitCode:
    """Run an allocation; return how to exit."""
    begin.say_to_stderr()
    if len(arguments) != 1:
        log.error("one argument is wanted: the folder of the allocation")
        return ExitCode.USAGE
    return begin.safely(lambda: _run(Mailbox(Path(arguments[0]).absolute())))


def _run(mailbox: Mailbox) -> ExitCode:
    manifest = mailbox.read_manifest()
    where = surroundings.read(os.environ)
    if not manifest.event_tasks:
        return begin.head(mailbox, manifest, where)
    if manifest.link is LinkName.MPI and len(where.nodes) > 1:
        return launch.run(mailbox, manifest, where, os.environ)
    return Supervisor(lambda life: begin.safely(lambda: begin.head(mailbox, manifest, where, life))).supervise()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
