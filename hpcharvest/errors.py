"""Every error of hpcharvest, in one tree.

HarvestError
├── ConfigurationError            what was configured cannot work
├── JobError                      one job is concerned, and no other
│   ├── JobNotUnderstood          its definition lacks a key, or has one of a wrong type
│   ├── UnsafeName                a name from the server would leave the job's folder
│   ├── ImageRefused              there is no such container image for it
│   ├── ImageUnavailable *        its container image is not to be had just now
│   └── TransferError             one of its files did not move
│       ├── SourceMissing         the source does not exist
│       ├── ChecksumMismatch      size or adler32 differ from what was promised
│       ├── OutputMissing         the payload did not write what it promised
│       └── StorageUnavailable *  full, read-only, vanished or unreachable storage
├── PandaError                    a conversation with the PanDA server failed
│   ├── ServerUnreachable *       the request was certainly not carried out
│   ├── AnswerLost *              the request may have been carried out: ask before repeating it
│   ├── AnswerNotUnderstood *     something answered that does not speak the protocol
│   └── ServerRefused             the server said no, and why
├── BatchError                    a conversation with the batch system failed
│   ├── BatchUnreachable *        nothing is known about any batch job
│   ├── BatchFull *               it takes no more batch jobs of ours just now; nothing was submitted
│   ├── SubmissionUnknown *       the batch job may exist: look for its tag before repeating it
│   └── SubmissionRefused         the batch system said no, and why
├── StoreError                    the database cannot be used
│   └── StoreUnavailable *        full disk, lock, lost connection
├── MessageNotUnderstood          a file between controller and runner has a field that is wrong
│   └── TornMessage *             it is not whole (yet)
├── LeaseHeld                     another controller of the same harvester id is alive
└── IllegalTransition             a record was asked to go where its life does not lead

An asterisk marks what is *transient*: the same thing may work later, without anybody doing anything.
The default message of an error is the first line of its docstring. `pilot_code` is the code under which PanDA's users
know the cause (the pilot's error codes), where there is one.
"""

from __future__ import annotations

from typing import ClassVar


class HarvestError(Exception):
    """Something went wrong while harvesting."""

    transient: ClassVar[bool] = False
    pilot_code: ClassVar[int | None] = None

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])


class ConfigurationError(HarvestError):
    """What was configured cannot work; the message names file, line and the nearest valid key."""


class JobError(HarvestError):
    """One job cannot go on; no other is concerned."""


class JobNotUnderstood(JobError):
    """A job's definition lacks a key, or has one of a wrong type."""

    pilot_code = 1319


class UnsafeName(JobError):
    """A name from the server would lead out of the job's own folder."""

    pilot_code = 1319


class ImageRefused(JobError):
    """There is no such container image, or we may not have it."""

    pilot_code = 1306


class ImageUnavailable(JobError):
    """A container image is not to be had just now: the registry, the engine or the storage does not play."""

    transient = True
    pilot_code = 1306


class TransferError(JobError):
    """A file did not move."""

    pilot_code = 1099


class SourceMissing(TransferError):
    """A source file does not exist."""

    pilot_code = 1099


class ChecksumMismatch(TransferError):
    """The size or adler32 of a file differs from what was promised."""

    pilot_code = 1171


class OutputMissing(TransferError):
    """The payload did not write a file that it promised."""

    pilot_code = 1137


class StorageUnavailable(TransferError):
    """A storage is full, read-only, has vanished or cannot be reached."""

    transient = True
    pilot_code = 1137


class PandaError(HarvestError):
    """A conversation with the PanDA server failed."""


class ServerUnreachable(PandaError):
    """The PanDA server could not be reached: the request was certainly not carried out."""

    transient = True


class AnswerLost(PandaError):
    """The PanDA server's answer was lost: the request may have been carried out."""

    transient = True


class AnswerNotUnderstood(PandaError):
    """What answered does not speak PanDA's protocol."""

    transient = True


class ServerRefused(PandaError):
    """The PanDA server refused the request; the message is its own."""


class BatchError(HarvestError):
    """A conversation with the batch system failed."""


class BatchUnreachable(BatchError):
    """The batch system does not answer: nothing is known about any batch job."""

    transient = True


class BatchFull(BatchError):
    """The batch system takes no more batch jobs of ours just now: nothing was submitted."""

    transient = True


class SubmissionUnknown(BatchError):
    """A submission's answer was lost: the batch job may exist."""

    transient = True


class SubmissionRefused(BatchError):
    """The batch system refused the submission; the message has its own words."""


class StoreError(HarvestError):
    """The database cannot be used."""


class StoreUnavailable(StoreError):
    """The database cannot be used just now: full disk, locked, or out of reach."""

    transient = True


class MessageNotUnderstood(HarvestError):
    """A message in an allocation's folder has a field that is missing or of a wrong type."""


class TornMessage(MessageNotUnderstood):
    """A message in an allocation's folder is no whole JSON text yet: read it again later, never delete it."""

    transient = True


class LeaseHeld(HarvestError):
    """Another controller with the same harvester id is alive."""


class IllegalTransition(HarvestError):
    """A record was asked to go where its life does not lead."""
