"""The database as one thing: opened, committed to, read and closed."""

from __future__ import annotations

from typing import Self

from hpcharvest.store import allocations, answers, bundles, event_ranges, inbox, jobs, journal, outbox
from hpcharvest.store.changes import Changes
from hpcharvest.store.connections import Connections, connect
from hpcharvest.store.file_systems import NetworkPolicy
from hpcharvest.store.purge import purge
from hpcharvest.store.upgrade import upgrade

_WRITERS = (
    *(jobs.write, allocations.write, event_ranges.write, bundles.write),
    *(outbox.write, answers.write, inbox.write, journal.write),
)


class Database:
    """What must survive. One process commits; any may read and put requests into the inbox. Usable from every thread.

    Whatever goes wrong is a `StoreError`; one that is `transient` may go away by itself.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.jobs = jobs.Jobs(connections)
        self.allocations = allocations.Allocations(connections)
        self.outbox = outbox.Outbox(connections)
        self.inbox = inbox.Inbox(connections)
        self.journal = journal.Journal(connections)
        self.answers = answers.Answers(connections)
        self.event_ranges = event_ranges.EventRanges(connections)
        self.bundles = bundles.Bundles(connections)

    @classmethod
    def open(cls, url: str, *, network_file_system: NetworkPolicy = "refuse", may_upgrade: bool = True) -> Self:
        """Open a database, made if there is none, upgraded if it is older: `sqlite:////path`, `postgresql://host/name`.

        `may_upgrade`: whether to; else one that is not of our very version is a `StoreError`. `network_file_system`:
        what to do about an SQLite file on one: refuse it, or use a rollback journal.
        """
        connections = connect(url, network_file_system)
        try:
            upgrade(connections, may_upgrade=may_upgrade)
        except BaseException:
            connections.close()
            raise
        return cls(connections)

    def commit(self, changes: Changes) -> None:
        """Make the changes durable, all or none, in one transaction. They stay as they are and may be repeated."""
        if not changes:
            return
        with self._connections.writing() as connection:
            for write in _WRITERS:
                write(connection, changes)

    def purge(self, before: float) -> int:
        """Delete what is over since before that moment (wall seconds), and tell how many jobs and allocations it was.

        Jobs with an owed report stay. The work is done in slices of some hundred rows, each a transaction.
        """
        return purge(self._connections, before)

    def close(self) -> None:
        """Give up all connections. The database cannot be left in any bad way: not closing it does no harm."""
        self._connections.close()
