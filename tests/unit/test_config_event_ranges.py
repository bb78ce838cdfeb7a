"""The section of a queue that takes event-service jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from hpcharvest.config.event_ranges import RANGE_PLACEHOLDERS, PayloadKindName
from hpcharvest.config.schema import EventRanges, Payload
from hpcharvest.messenger.ranges import PLACEHOLDERS, PayloadKind
from tests import worlds


def section(**given: Any) -> EventRanges:
    return EventRanges.model_validate(given)


def test_the_configuration_knows_the_kinds_and_placeholders_that_the_runner_knows() -> None:
    assert set(get_args(PayloadKindName)) == set(PayloadKind)
    assert RANGE_PLACEHOLDERS == PLACEHOLDERS


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"arguments": ("--x={start}",)}, "placeholder that is none"),
        ({"arguments": ("{PFN!r}",)}, "placeholder that is none"),
        ({"arguments": ("{PFN",)}, "expected '}'"),
        ({"output": "a/{eventRangeID}"}, "no plain name"),
        ({"output": "{PFN}.{eventRangeID}"}, "is a path"),
        ({"output": "{LFN}.{startEvent}"}, "put {eventRangeID} into it"),
        ({"callable": "x:y"}, "without kind"),
        ({"kind": "callable", "callable": "no function"}, "is not like"),
        ({"nodes_per_slot": 2}, 'needs kind = "mpi"'),
        ({"ranks_per_node": 2}, 'no effect without kind = "mpi"'),
        ({"tries": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_work_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        section(**given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"cores": 9}, "event_ranges.cores = 9"),
        ({"gpus": 1}, "event_ranges.gpus = 1"),
        ({"memory_mb": 16_001}, "event_ranges.memory_mb"),
        ({"nodes": 5}, "event_ranges.nodes = 5"),
        ({"walltime_s": 7201}, "event_ranges.walltime_s = 7201"),
        ({"walltime_s": 60}, "leaves nothing of margin_s"),
        ({"kind": "mpi"}, "no launcher"),
    ],
)
def test_what_the_site_does_not_have_is_refused(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    payload = Payload(transformation_dir=tmp_path, event_ranges=section(**given))
    with pytest.raises(ValidationError, match=words):
        worlds.configuration(tmp_path, queue={"payload": payload})


def test_a_queue_takes_the_section_with_its_defaults(tmp_path: Path) -> None:
    payload = Payload(transformation_dir=tmp_path, event_ranges=section())
    (queue,) = worlds.configuration(tmp_path, queue={"payload": payload}).queues.values()
    assert queue.payload.event_ranges is not None
    assert queue.payload.event_ranges.output == "{LFN}.{eventRangeID}"
    assert queue.site.nodes.scratch == "${TMPDIR:-/tmp}"
