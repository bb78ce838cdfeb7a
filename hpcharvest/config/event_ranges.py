"""How the event ranges of event-service jobs are run: the section of a queue that takes such jobs."""

from __future__ import annotations

import string
from typing import Literal

from pydantic import ValidationInfo, field_validator

from hpcharvest.config.base import Count, PositiveCount, PositiveSeconds, Seconds, Section, Strings, Text

PayloadKindName = Literal["command", "callable", "service", "files", "mpi"]
RANGE_PLACEHOLDERS = (
    *("eventRangeID", "startEvent", "lastEvent", "LFN", "GUID", "scope", "PFN"),
    *("output", "seed", "PandaID", "taskID"),
)
"""What the runner fills in; a test compares it with the runner's own list."""


def check_template(word: str) -> str:
    """Return a word; ValueError if it has a brace that is not closed, or a placeholder that the runner does not know.

    As on the nodes, doubled braces mean braces, and nothing may be done to a value on the way.
    """
    for _, name, spec, conversion in string.Formatter().parse(word):
        if name is not None and (name not in RANGE_PLACEHOLDERS or spec or conversion):
            known = ", ".join(f"{{{one}}}" for one in RANGE_PLACEHOLDERS)
            raise ValueError(f"{word!r} has a placeholder that is none; there are {known}")
    return word


class EventRanges(Section):
    """How the event ranges of event-service jobs are run; without this section, such jobs are refused."""

    kind: PayloadKindName = "command"
    """How a payload takes event ranges: a process for each (`command`), `module:function`, imported once in each slot
    and called with each (`callable`), a process that asks for them in AthenaMP's lines (`service`) or through
    panda-harvester's shared files (`files`), or an MPI program on several nodes for each (`mpi`)."""
    callable: str = ""
    """For kind `callable`: the `module:function`, of a module in `transformation_dir`; empty: the job's transformation
    is a module there, and its function is `run`. It finds the job's parameters in the environment variable
    HPCHARVEST_PARAMETERS; `arguments` have no effect."""
    arguments: Strings = ()
    """Further arguments after the job's own; they, and the job's own, may have {eventRangeID}, {startEvent},
    {lastEvent}, {LFN}, {GUID}, {scope}, {PFN} (the input's path), {output} (where the output is to be left), {seed}
    (the same for the same range always), {PandaID} and {taskID}."""
    output: Text = "{LFN}.{eventRangeID}"
    """The plain name of a range's output in its archive, with the same placeholders except paths; {eventRangeID} has
    to be in it, so that no two have the same name."""
    nodes_per_slot: PositiveCount = 1
    """Number of nodes that a range needs: more than 1 for kind `mpi` alone."""
    cores: PositiveCount = 1
    """Number of cores that a slot, which does one range after another, has on each of its nodes."""
    ranks_per_node: Count = 0
    """Number of ranks on each node of a slot, for kind `mpi` alone; 0: as many as it has cores there."""
    memory_mb: Count = 0
    """Memory of a slot on each of its nodes, in MB; 0: unknown."""
    gpus: Count = 0
    """Number of GPUs that a slot has for itself alone on each of its nodes."""
    range_walltime_s: Seconds = 0.0
    """A range that takes longer, in seconds, is taken to hang; 0: it is judged by the others of its task."""
    expected_range_s: PositiveSeconds = 60.0
    """How many seconds a range is taken to need while none of its job is done: how many allocations a new job gets."""
    tries: PositiveCount = 2
    """Number of tries that a range gets on one node before it fails there."""
    archive_mb: PositiveCount = 256
    """Size in MB from which an archive of outputs is closed, and brought to its destination."""
    archive_age_s: PositiveSeconds = 300.0
    """Age in seconds from which it is."""
    objstore_id: Count = 0
    """Number of the storage element to which archives go, as PanDA counts them."""
    nodes: Count = 0
    """Number of nodes of an allocation for event ranges at the most; 0: as many as the site allows."""
    walltime_s: Count = 0
    """Walltime of an allocation for event ranges, in seconds; 0: as long as the site allows."""

    @field_validator("arguments")
    @classmethod
    def _arguments_are_templates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            check_template(word)
        return value

    @field_validator("output")
    @classmethod
    def _output_is_a_name(cls, value: str) -> str:
        if "/" in value:
            raise ValueError(f"{value!r} is no plain name: outputs have no folders in their archive")
        names = {name for _, name, _, _ in string.Formatter().parse(check_template(value))}
        for path in ("PFN", "output"):
            if path in names:
                raise ValueError(f"{value!r} is no plain name, as {{{path}}} is a path")
        if "eventRangeID" not in names:
            raise ValueError(
                f"{value!r} would give several outputs of an archive one name: put {{eventRangeID}} into it"
            )
        return value

    @field_validator("callable")
    @classmethod
    def _callable_of_its_kind(cls, value: str, info: ValidationInfo) -> str:
        if not value:
            return value
        if info.data.get("kind") != "callable":
            raise ValueError('callable has no effect without kind = "callable"')
        module, _, function = value.partition(":")
        if not function.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
            raise ValueError(f"{value!r} is not like package.module:function")
        return value

    @field_validator("ranks_per_node")
    @classmethod
    def _ranks_by_mpi(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("kind") != "mpi":
            raise ValueError(f'ranks_per_node = {value} has no effect without kind = "mpi"')
        return value

    @field_validator("nodes_per_slot")
    @classmethod
    def _several_nodes_by_mpi(cls, value: int, info: ValidationInfo) -> int:
        if value > 1 and info.data.get("kind") != "mpi":
            raise ValueError(f'nodes_per_slot = {value} needs kind = "mpi"')
        return value
