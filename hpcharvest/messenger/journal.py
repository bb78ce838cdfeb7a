"""The journal of an allocation: numbered segments, of which each number can be won once.

A segment is written to a draft in full, fsynced, and hard-linked to the next number. `link(2)` fails if the name is
there: so winning a number and publishing what it says are one atomic act, on POSIX file systems, NFS (version 3 and
later), Lustre and GPFS alike. Whoever fails to win the next number learns that somebody else spoke, and reads it before
it says anything more. The reasons are in `docs/adr/0002-the-fence-is-a-numbered-journal.md`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hpcharvest.errors import MessageNotUnderstood, StorageUnavailable, TornMessage
from hpcharvest.messenger.files import storage, sync_folder, write_durably
from hpcharvest.messenger.protocol import Closed, Record, Segment, Writer, decode_segment, encode_segment, segment_name

log = logging.getLogger(__name__)

TORN_PAUSES_S: Final = (0.01, 0.05, 0.2)
"""How long to wait before a torn segment is read again, in seconds."""
CLOSE_TRIES: Final = 100
DAMAGED: Final = "damaged"
"""In the place of a segment's unknown kinds: the whole of it could not be read."""


class Journal:
    """The journal in one folder, as one of its writers and readers sees it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._author = os.urandom(8).hex()

    def publish(self, number: int, records: Sequence[Record], writer: Writer, restart: int = 0) -> bool:
        """Win a number and publish its records, or change nothing and return False: the number is taken.

        Every number below must have been read, and none of them closes. StorageUnavailable: it is not known whether the
        number was won; publishing *the same* records under the same number again settles it.
        """
        text = encode_segment(number, records, writer, restart, self._author)
        draft, target = self._folder / f".{self._author}.{number}", self._folder / segment_name(number)
        with storage(f"publish {target}"):
            try:
                write_durably(draft, text)
                os.link(draft, target)
            except FileExistsError:
                # Ours, if an earlier answer of the file server was lost.
                return target.read_bytes() == text
            finally:
                _drop(draft)
        return True

    def read(self, number: int) -> Segment | None:
        """Read one segment; None: it is not there (yet).

        TornMessage: what is there stayed torn over some tries, so try later. MessageNotUnderstood: it is whole, but has
        a field that is wrong. StorageUnavailable: it cannot be read.
        """
        path = self._folder / segment_name(number)
        for pause_s in (*TORN_PAUSES_S, None):
            with storage(f"read {path}"):
                try:
                    text = path.read_bytes()
                except FileNotFoundError:
                    return None
            try:
                segment = decode_segment(text, number, str(path))
            except TornMessage as error:
                log.warning("%s", error)
                if pause_s is None:
                    raise
                time.sleep(pause_s)
                continue
            if segment.unknown:
                log.warning("%s: records of unknown kinds were left out: %s", path, ", ".join(segment.unknown))
            return segment
        raise AssertionError("the last turn returns or raises")

    def read_from(self, number: int) -> list[Segment]:
        """Read all segments from a number on, to the one that closes, the last there is, or one that is damaged.

        Errors as in `read`, if they concern the very first.
        """
        found: list[Segment] = []
        while not (found and found[-1].closes):
            try:
                segment = self.read(number + len(found))
            except MessageNotUnderstood:
                if found:
                    break
                raise
            if segment is None:
                break
            found.append(segment)
        return found

    def pass_over(self, number: int, error: MessageNotUnderstood) -> Segment:
        """Give an empty segment in the place of a damaged one: what it told is lost, and what follows must not be."""
        log.error("a damaged segment is passed over, and its outcomes are lost: %s", error)
        return Segment(number=number, writer=Writer.RUNNER, restart=0, records=(), unknown=(DAMAGED,))

    def close(self, start_at: int, by: str, at: float) -> tuple[Segment, ...]:
        """Close the journal for the controller, which has read every segment below `start_at`.

        Returns the segments from `start_at` on, of which the last closes: it is the runner's goodbye, if that came
        first, or ours. Empty: the journal was closed below `start_at`. May be repeated. A damaged segment is passed
        over, so that the end can be won behind it. StorageUnavailable: nothing is known.
        """
        if start_at and (before := self.read(start_at - 1)) and before.closes:
            return ()
        found: list[Segment] = []
        for _ in range(CLOSE_TRIES):
            try:
                found += self.read_from(start_at + len(found))
            except MessageNotUnderstood as error:
                found.append(self.pass_over(start_at + len(found), error))
                continue
            if found and found[-1].closes:
                with storage(f"close {self._folder}"):
                    sync_folder(self._folder)
                return tuple(found)
            if not self.publish(start_at + len(found), [Closed(at=at, by=by)], Writer.CONTROLLER):
                # A name that was just made may stay invisible for a moment, in the caches of a network file system.
                time.sleep(TORN_PAUSES_S[0])
        raise StorageUnavailable(f"cannot close {self._folder}: the next number is taken, but cannot be read")


def _drop(draft: Path) -> None:
    try:
        draft.unlink(missing_ok=True)
    except OSError as error:
        log.warning("a draft stays behind: %s", error)
