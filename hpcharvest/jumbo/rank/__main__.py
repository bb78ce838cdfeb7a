"""`python -m hpcharvest.jumbo.rank FOLDER`: be one rank of an allocation's runner. Started by `rank.launch`.

Rank 0 is the head, and the process of its own node is its child, over a socket; each other rank is its node's process.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hpcharvest.clock import SystemClock
from hpcharvest.jumbo import begin, surroundings
from hpcharvest.jumbo.agents import OUTPUT
from hpcharvest.jumbo.links import mpi
from hpcharvest.jumbo.links.messages import Leave
from hpcharvest.jumbo.links.post import HEAD, Post
from hpcharvest.jumbo.node import process
from hpcharvest.jumbo.rank import roll
from hpcharvest.jumbo.rank.hide import hide
from hpcharvest.jumbo.surroundings import Surroundings
from hpcharvest.messenger.mailbox import Mailbox
from hpcharvest.messenger.protocol import ExitCode

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> ExitCode:
    """Be a rank; return how to exit."""
    begin.say_to_stderr()
    if len(arguments) != 1:
        log.error("one argument is wanted: the folder of the allocation")
        return ExitCode.USAGE
    return begin.safely(lambda: _run(Mailbox(Path(arguments[0]).absolute())))


def _run(mailbox: Mailbox) -> ExitCode:
    """Take part. The head does not leave alone: a rank that does not come to its end is ended."""
    post = mpi.start()
    hide(os.environ)
    code = ExitCode.UNPUBLISHED
    try:
        code = begin.safely(lambda: _play(post, mailbox))
    finally:
        if post.rank == HEAD and not post.settled:
            log.error("not all ranks came to their end: MPI is told to end them")
            post.abort(code)
    return code if post.rank == HEAD else ExitCode.LEFT


def _play(post: Post, mailbox: Mailbox) -> ExitCode:
    where: Surroundings = post.share(surroundings.read(os.environ) if post.rank == HEAD else None)
    nodes = roll.nodes_of(post.gather(process.host_name()), where.nodes)
    where = where.in_order(nodes)
    if post.rank == HEAD:
        link = mpi.MpiHead(post)
        try:
            return begin.head(mailbox, mailbox.read_manifest(), where, mpi=link)
        finally:
            link.close()
    _speak_to(mailbox.folder / OUTPUT)
    own = mpi.MpiNode(post, gone=Leave(reason="the head is gone, and over MPI there is no other", left_s=0.0))
    try:
        process.Process(
            mailbox.folder,
            mailbox.read_manifest(),
            where,
            nodes[post.rank],
            0,
            link=own,
            environment=dict(os.environ),
            clock=SystemClock(),
        ).run()
    finally:
        own.close()
    return ExitCode.LEFT


def _speak_to(path: Path) -> None:
    """Let this process's words go where those of nodes' processes go."""
    with path.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
