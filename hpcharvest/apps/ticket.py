"""What the stages of a DAG are given: values only, so that a stage depends on nothing that may change under it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from hpcharvest.apps.folders import Folders
from hpcharvest.apps.images import WantedImage
from hpcharvest.model.ids import Attempt, JobId
from hpcharvest.model.job import InputFile, JobSpec, OutputFile, PayloadOutcome

PLAIN = "!$&'()*+,;=:@~"
"""What may stand unquoted in one part of a URL's path, beside letters, digits, dot, dash and underscore (RFC 3986)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Where a queue's inputs come from and its outputs go. All are URLs of folders."""

    inputs: str
    outputs: str
    endpoints: dict[str, str]
    """Storage elements by name, for files that name one."""
    by_scope: bool = True
    """Whether files lie in a folder named after their scope."""

    def source(self, file: InputFile) -> str:
        """Give the URL from which an input comes."""
        return self._url(self.endpoints.get(file.endpoint, self.inputs), file)

    def destination(self, file: OutputFile) -> str:
        """Give the URL to which an output goes."""
        return self._url(self.endpoints.get(file.endpoint, self.outputs), file)

    def _url(self, folder: str, file: InputFile | OutputFile) -> str:
        # Names are the server's: what means something in a URL must be quoted, or %2F would lead out of the folder.
        names = [*([file.scope] if self.by_scope and file.scope else []), file.lfn]
        return "/".join([folder.rstrip("/"), *(quote(name, safe=PLAIN) for name in names)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A job on its way through its DAG."""

    spec: JobSpec
    folders: Folders
    storage: Storage
    image: WantedImage | None = None
    """In which its payload is to run; None: in none."""

    @property
    def job(self) -> JobId:
        """PanDA's PandaID."""
        return self.spec.panda_id

    def source(self, file: InputFile) -> str:
        """Give the URL from which an input comes: an archive, from where an event-service job's archives go."""
        if not file.archive:
            return self.storage.source(file)
        endpoint = file.endpoint if file.endpoint in self.storage.endpoints else ""
        return self.storage.destination(self.spec.archive(file.lfn, endpoint))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What the payload's future gives: which attempt counted, and how it ended."""

    attempt: Attempt
    outcome: PayloadOutcome
