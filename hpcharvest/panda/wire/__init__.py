"""PanDA's own words, both ways: the only place that knows its field names, its statuses and its types. All pure.

`jobs` reads what the server gives, `updates` says what became of it, `ranges` does both for event ranges, `service` is
about ourselves (workers, commands, heartbeat), `envelope` is what every answer comes in, and `fields` reads any foreign
dictionary strictly.
"""

from hpcharvest.panda.wire.envelope import Envelope, decode_envelope
from hpcharvest.panda.wire.jobs import DecodedAnswer, RefusedJob, decode_job, decode_jobs, encode_acquire, no_jobs_in
from hpcharvest.panda.wire.ranges import (
    MAX_ASKED,
    MAX_REPORTED,
    DecodedRanges,
    RangesAnswer,
    decode_range_count,
    decode_range_report,
    decode_range_statuses,
    decode_ranges,
    encode_acquire_ranges,
    encode_range_count,
    encode_range_question,
    encode_range_report,
    fatal_name,
    no_ranges_in,
)
from hpcharvest.panda.wire.service import (
    ServerCommand,
    decode_commands,
    decode_flags,
    encode_acknowledge_commands,
    encode_acquire_commands,
    encode_heartbeat,
    encode_update_workers,
    encode_worker,
)
from hpcharvest.panda.wire.updates import (
    ServerJobStatus,
    UpdateAnswer,
    decode_statuses,
    decode_update_answer,
    encode_bulk,
    encode_status_question,
    encode_update,
    settled,
)

__all__ = [
    "MAX_ASKED",
    "MAX_REPORTED",
    "DecodedAnswer",
    "DecodedRanges",
    "Envelope",
    "RangesAnswer",
    "RefusedJob",
    "ServerCommand",
    "ServerJobStatus",
    "UpdateAnswer",
    "decode_commands",
    "decode_envelope",
    "decode_flags",
    "decode_job",
    "decode_jobs",
    "decode_range_count",
    "decode_range_report",
    "decode_range_statuses",
    "decode_ranges",
    "decode_statuses",
    "decode_update_answer",
    "encode_acknowledge_commands",
    "encode_acquire",
    "encode_acquire_commands",
    "encode_acquire_ranges",
    "encode_bulk",
    "encode_heartbeat",
    "encode_range_count",
    "encode_range_question",
    "encode_range_report",
    "encode_status_question",
    "encode_update",
    "encode_update_workers",
    "encode_worker",
    "fatal_name",
    "no_jobs_in",
    "no_ranges_in",
    "settled",
]
