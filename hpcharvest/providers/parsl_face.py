"""Our batch systems as a Parsl execution provider, for any Parsl configuration; nothing of PanDA is needed.

Two ids of a block: its *tag*, the batch job's name, which is ours and unique; and its *batch id*. Parsl knows a block
by the batch id, or by the tag where the answer to its submission was lost.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from parsl.jobs.states import JobStatus
from parsl.launchers import SimpleLauncher
from parsl.launchers.base import Launcher
from parsl.providers.base import ExecutionProvider
from parsl.providers.errors import ScriptPathError, SubmitException

from hpcharvest.clock import Clock, SystemClock
from hpcharvest.config.loader import load_site
from hpcharvest.errors import BatchError, BatchUnreachable, ConfigurationError, SubmissionUnknown
from hpcharvest.model.shape import Shape
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.dialect import BatchRequest, Dialect
from hpcharvest.providers.parsl_block import Block, after, seconds
from hpcharvest.providers.registry import batch_system

logger = logging.getLogger(__name__)

_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9._-]+")


class BatchProvider(ExecutionProvider):
    """Runs Parsl's blocks as batch jobs of `system`, in whichever dialect. Safe to use from several threads.

    `folder`: each block has a folder in it, for its script, stdout and stderr; nodes must see it; None: `script_dir`,
    which Parsl points into the folder of its run. `walltime`: of a block, "HH:MM:SS" or seconds. `cores_per_node`:
    tells Parsl how many workers a node takes. `worker_init`: shell text that is run before the workers. `options`:
    further directives, as the dialect takes them. `poll_s`: Parsl asks for states every so many seconds. `absent_s`:
    after so many seconds in which the batch system answers but does not list a block, its state is UNKNOWN.

    As with Parsl's own providers, `nodes_per_block` and `walltime` may be changed between two blocks, and `resources`
    keeps a small record of each block, also when it has ended, since Parsl goes on asking for it.
    """

    def __init__(
        self,
        system: BatchSystem,
        *,
        folder: Path | str | None = None,
        nodes_per_block: int = 1,
        cores_per_node: int | None = None,
        walltime: str | int = "00:10:00",
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1.0,
        launcher: Launcher | None = None,
        worker_init: str = "",
        partition: str = "",
        account: str = "",
        qos: str = "",
        options: Sequence[str] = (),
        label: str = "hpcharvest",
        poll_s: int = 60,
        absent_s: float = 600.0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        seconds(walltime)
        self._system, self._folder = system, Path(folder) if folder is not None else None
        self.script_dir: str | None = None
        self.nodes_per_block, self.cores_per_node, self.walltime = nodes_per_block, cores_per_node, walltime
        self.init_blocks, self.min_blocks, self.max_blocks = init_blocks, min_blocks, max_blocks
        self.parallelism = parallelism
        self.launcher = launcher or SimpleLauncher()
        self.worker_init = worker_init
        self.partition, self.account, self.qos, self.options = partition, account, qos, tuple(options)
        self._label, self._poll_s, self._absent_s = label, poll_s, absent_s
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self.resources: dict[object, Block] = {}

    @classmethod
    def from_site(cls, path: Path | str, *, worker_init: str = "", **settings: Any) -> Self:
        """Make one for the machine that a site file describes; `settings` are the constructor's, and come first.

        `worker_init` follows the site's own prologue. Raises ConfigurationError.
        """
        site = load_site(Path(path))
        prologue = site.software.prologue
        try:
            texts = [prologue.read_text(encoding="utf-8").rstrip("\n") if prologue else "", worker_init]
        except OSError as error:
            raise ConfigurationError(
                f"{path}: software.prologue {prologue} cannot be read: {error.strerror}"
            ) from error
        told: dict[str, Any] = {
            "label": site.name,
            "nodes_per_block": site.allocation.min_nodes,
            "cores_per_node": site.nodes.cores,
            "partition": site.batch.partition,
            "account": site.batch.account,
            "qos": site.batch.qos,
            "options": site.batch.options,
        }
        return cls(batch_system(site), worker_init="\n".join(filter(None, texts)), **(told | settings))

    @property
    def label(self) -> str:
        """The provider's name in Parsl's logs."""
        return self._label

    @property
    def status_polling_interval(self) -> int:
        """Every how many seconds Parsl asks for the states of its blocks."""
        return self._poll_s

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.auto") -> str:
        """Submit a block of the usual shape; give the id by which Parsl knows it. Raises as `submit_shape`."""
        shape = Shape(nodes=self.nodes_per_block, walltime_s=seconds(self.walltime), partition=self.partition)
        return self.submit_shape(command, shape, unique_tag(job_name), tasks_per_node=tasks_per_node)

    def submit_shape(self, command: str, shape: Shape, tag: str, *, tasks_per_node: int = 1) -> str:
        """Submit a block of this shape, under a tag that nobody else uses; give the id by which Parsl knows it.

        If the answer is lost, the block may exist: then the tag is its id, and it is looked for with every question.
        Raises SubmitException if it certainly does not exist, ScriptPathError if its script cannot be written.
        """
        request = self._request(tag, shape)
        launched = self.launcher(command, tasks_per_node, shape.nodes, str(request.folder))
        self._write(request, script(self._system.dialect, request, launched, self.worker_init, self.cores_per_node))
        try:
            batch_id = self._system.submit(request)
        except SubmissionUnknown as error:
            logger.warning("block %s may have been submitted, and is looked for: %s", tag, error)
            batch_id = ""
        except BatchError as error:
            raise _not_submitted(tag, str(error)) from error
        else:
            logger.info("block %s is batch job %s", tag, batch_id)
        block = batch_id or tag
        with self._lock:
            self.resources[block] = Block(batch_id=batch_id, tag=tag, folder=request.folder)
        return block

    def adopt(self, batch_id: str) -> str:
        """Take over a block that an earlier process submitted, to watch it and to end it; give its id.

        Its workers are not taken over: they belong to the process that they were started for, and leave without it.
        """
        self._remember([batch_id])
        return batch_id

    def status(self, job_ids: Sequence[object]) -> list[JobStatus]:
        """Give the states of these blocks, by one question for all, or by none if all have ended.

        What is not known stays as it was last known: neither a state that we do not know, nor a batch system that does
        not answer or does not list a block, ends it.
        """
        self._remember(job_ids)
        if not all(self.resources[one].ended for one in job_ids):
            self._ask()
        return [self.resources[one].status() for one in job_ids]

    def cancel(self, job_ids: Sequence[object]) -> list[bool]:
        """End these blocks; tell of each whether it has ended or the batch system was told to end it."""
        self._remember(job_ids)
        if not job_ids or not self._ask():
            return [False] * len(job_ids)
        live = [one for one in job_ids if not self.resources[one].ended and self.resources[one].batch_id]
        try:
            if live:
                self._system.cancel([self.resources[one].batch_id for one in live])
        except BatchUnreachable as error:
            logger.warning("%d blocks may go on: %s", len(live), error)
            live = []
        return [self.resources[one].ended or one in live for one in job_ids]

    def _request(self, tag: str, shape: Shape) -> BatchRequest:
        if not tag or _NOT_IN_TAGS.search(tag) or tag.startswith("."):
            raise _not_submitted(tag, "a tag is made of letters, digits, dots, dashes and underscores")
        base = self._folder or self.script_dir
        if base is None:
            raise _not_submitted(tag, "there is no folder for its script: give the provider a folder")
        return BatchRequest(
            tag=tag,
            shape=shape,
            folder=Path(base).absolute() / tag,
            account=self.account,
            qos=self.qos,
            options=self.options,
        )

    @staticmethod
    def _write(request: BatchRequest, text: str) -> None:
        try:
            request.folder.mkdir(parents=True)
            request.script.write_text(text, encoding="utf-8")
        except OSError as error:  # FileExistsError too: the tag was used already
            raise ScriptPathError(str(request.script), error) from error  # type: ignore[no-untyped-call]  # Parsl's

    def _remember(self, job_ids: Sequence[object]) -> None:
        """Make a record for those that have none: another process submitted them."""
        with self._lock:
            for one in job_ids:
                self.resources.setdefault(one, Block(batch_id=str(one)))

    def _ask(self) -> bool:
        """Ask about all blocks at once, and note what is said; tell whether the batch system answered."""
        with self._lock:
            asked = dict(self.resources)
        try:
            said = self._system.status(
                {one.batch_id: one.folder for one in asked.values() if one.batch_id and not one.ended}
            )
        except BatchUnreachable as error:
            logger.warning("nothing new is known about blocks: %s", error)
            return False
        tagged = {one.tag: one for one in said.values() if one.tag}
        now = self._clock.steady()
        with self._lock:
            for key, old in asked.items():
                found = said.get(old.batch_id) if old.batch_id else tagged.get(old.tag)
                new = self.resources[key] = after(old, found, now=now, absent_s=self._absent_s)
                if new.message != old.message or new.lost is not old.lost:
                    logger.info("%s%s", new.message, " for so long that nobody knows its state" if new.lost else "")
        return True


def _not_submitted(tag: str, reason: str) -> SubmitException:
    return SubmitException(tag, reason)  # type: ignore[no-untyped-call]  # Parsl's


def unique_tag(job_name: str) -> str:
    """Give a tag that begins with the job's name, as far as batch systems take it, and that nobody else uses."""
    return f"{_NOT_IN_TAGS.sub('-', job_name).lstrip('.-')[:100] or 'parsl'}.{secrets.token_hex(4)}"


def script(
    dialect: Dialect, request: BatchRequest, launched: str, worker_init: str = "", cores: int | None = None
) -> str:
    """Give the batch script of a block; `launched` is shell text that the launcher made. Pure.

    The variables are those that Parsl's launchers and executors look for.
    """
    return "\n".join(
        (
            "#!/bin/bash",
            *dialect.directives(request),
            f"export JOBNAME={request.tag}",
            *([f"export PARSL_CORES={cores}"] if cores else ()),
            *([worker_init.rstrip("\n")] if worker_init else ()),
            launched,
            "",
        )
    )
