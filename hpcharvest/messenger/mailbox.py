"""An allocation's folder on the shared file system, from both ends; names and texts are in `protocol`."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from hpcharvest.messenger.files import storage, sync_folder, write_durably
from hpcharvest.messenger.journal import Journal
from hpcharvest.messenger.protocol import (
    CUT_OFF,
    HEARTBEAT,
    JOURNAL,
    KILL,
    KILL_ALL,
    MANIFEST,
    Manifest,
    Segment,
    decode_manifest,
    encode_manifest,
    kill_name,
    leave_name,
)
from hpcharvest.messenger.ranges import ARCHIVES, FEED, NODES, Feed, decode_feed, encode_feed, feed_name
from hpcharvest.model.ids import Attempt, JobId


class Mailbox:
    """One allocation's folder. Every method may raise StorageUnavailable."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder / JOURNAL)

    def write_manifest(self, manifest: Manifest) -> None:
        """Make the folder and put the manifest into it, whole and durable. May be repeated."""
        with storage(f"write the manifest in {self.folder}"):
            more = (FEED, NODES, ARCHIVES) if manifest.event_tasks else ()
            for folder in (self.folder, *(self.folder / name for name in (JOURNAL, KILL, *more))):
                folder.mkdir(parents=True, exist_ok=True)
            draft = self.folder / f".{MANIFEST}"
            write_durably(draft, encode_manifest(manifest))
            draft.replace(self.folder / MANIFEST)
            sync_folder(self.folder)

    def read_manifest(self) -> Manifest:
        """Read the manifest. MessageNotUnderstood: a field is wrong."""
        path = self.folder / MANIFEST
        with storage(f"read {path}"):
            text = path.read_bytes()
        return decode_manifest(text, str(path))

    def read_segments(self, start_at: int) -> list[Segment]:
        """Read what is new in the journal, from `start_at` on. Errors as in `Journal.read`."""
        return self.journal.read_from(start_at)

    def feed(self, feed: Feed) -> None:
        """Put a file into the feed, whole and durable. May be repeated with the same."""
        path = self.folder / FEED / feed_name(feed.job, feed.number)
        with storage(f"write {path}"):
            draft = path.with_name(f".{path.name}")
            write_durably(draft, encode_feed(feed))
            draft.replace(path)

    def read_feed(self, job: JobId, number: int) -> Feed | None:
        """Read a file of the feed; None: it is not there (yet). TornMessage, MessageNotUnderstood as they come."""
        path = self.folder / FEED / feed_name(job, number)
        with storage(f"read {path}"):
            try:
                text = path.read_bytes()
            except FileNotFoundError:
                return None
        return decode_feed(text, str(path))

    def leave_kill_note(self, job: JobId, attempt: Attempt) -> None:
        """Ask the runner to stop one payload. May be repeated."""
        self._leave(kill_name(job, attempt))

    def leave_kill_all(self) -> None:
        """Ask the runner to stop everything and leave. May be repeated."""
        self._leave(KILL_ALL)

    def leave_word_to_leave(self, restart: int) -> None:
        """Ask one start of the runner to leave. May be repeated."""
        self._leave(leave_name(restart))

    def _leave(self, name: str) -> None:
        with storage(f"leave the kill note {name} in {self.folder}"):
            (self.folder / KILL / name).touch()

    def kill_notes(self) -> frozenset[str]:
        """Give the names of the kill notes that were left."""
        with storage(f"look for kill notes in {self.folder}"):
            return frozenset(note.name for note in (self.folder / KILL).iterdir())

    def leave_cut_off(self, restart: int, payloads: int) -> None:
        """Note how many payloads a start of the batch job ran although the journal was no longer its own."""
        with storage(f"leave a note in {self.folder}"):
            (self.folder / f"{CUT_OFF}.{restart}").write_text(f"{payloads}\n", encoding="ascii")

    def cut_off(self) -> int:
        """Count the payloads that ran in vain, over all starts; a note that is not whole counts nothing yet."""
        with storage(f"look for notes in {self.folder}"):
            notes = [note.read_text(encoding="ascii", errors="replace") for note in self.folder.glob(f"{CUT_OFF}.*")]
        return sum(int(note) for note in notes if note.strip().isdecimal())

    def beat(self) -> None:
        """Move the heartbeat."""
        with storage(f"move the heartbeat in {self.folder}"):
            (self.folder / HEARTBEAT).touch()

    def heartbeat_mtime(self) -> float | None:
        """Tell when the heartbeat moved, in seconds on the file server's clock: compare it with itself, not with ours.

        None: it never did.
        """
        with storage(f"read the heartbeat in {self.folder}"):
            try:
                return (self.folder / HEARTBEAT).stat().st_mtime
            except FileNotFoundError:
                return None


def probe(folder: Path) -> None:
    """Try in `folder` all that the mailbox asks of a file system, and clean up.

    StorageUnavailable says what is missing: mkdir, fsync, rename, or a hard link that fails if the name is there.
    """
    import shutil

    place = folder / f".probe-{os.urandom(8).hex()}"
    first, second = place / "first", place / "second"
    acts: dict[str, Callable[[], object]] = {
        "make a folder": place.mkdir,
        "write and fsync a file": lambda: write_durably(first, b"first"),
        "fsync a folder": lambda: sync_folder(place),
        "rename a file": lambda: first.replace(second),
        "make a hard link": lambda: os.link(second, first),
        "have a hard link to a taken name refused": lambda: _expect_refusal(second, first),
        "remove a file": first.unlink,
    }
    try:
        for what, act in acts.items():
            with storage(f"{what} on the file system of {folder}, which the journal needs"):
                act()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _expect_refusal(source: Path, taken: Path) -> None:
    try:
        os.link(source, taken)
    except FileExistsError:
        return
    raise OSError(errno.EOPNOTSUPP, "the link replaced the name")
