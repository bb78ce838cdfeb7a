"""`python -m hpcharvest.jumbo.node FOLDER NODES LIFE`: do event ranges on one node of an allocation.

NODES is this node's name, or all the names among which it finds its own. LIFE is how often the process was started on
this node before. The environment is the runner's, described in `messenger.protocol`, and so are the exit codes.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hpcharvest.clock import SystemClock
from hpcharvest.errors import ConfigurationError, MessageNotUnderstood, StorageUnavailable
from hpcharvest.jumbo import surroundings
from hpcharvest.jumbo.links.sockets import SocketNode
from hpcharvest.jumbo.node import process
from hpcharvest.jumbo.rank.hide import hide
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import ExitCode
from hpcharvest.messenger.ranges import LINK

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> ExitCode:
    """Do ranges; return how to exit."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    if len(arguments) != 3 or not arguments[2].isdecimal():
        log.error("three arguments are wanted: the folder of the allocation, the node, and a number")
        return ExitCode.USAGE
    folder, names, life = Path(arguments[0]).absolute(), arguments[1].split(","), int(arguments[2])
    try:
        node = process.own_name(names, os.environ, process.host_name())
        hide(os.environ)
        manifest = Mailbox(folder).read_manifest()
        process.Process(
            folder,
            manifest,
            surroundings.read(os.environ),
            node,
            life,
            link=SocketNode(folder / LINK),
            environment=dict(os.environ),
            clock=SystemClock(),
        ).run()
    except ConfigurationError as error:
        log.error("%s", error)  # noqa: TRY400  # the message says it all
        return ExitCode.USAGE
    except MessageNotUnderstood as error:
        log.error("%s", error)  # noqa: TRY400  # the message says it all
        return ExitCode.UNREADABLE
    except StorageUnavailable as error:
        log.error("%s", error)  # noqa: TRY400  # the message says it all
        return ExitCode.UNPUBLISHED
    return ExitCode.LEFT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
