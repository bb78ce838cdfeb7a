"""The methods of API v1 that are here, with the signatures of the running server, and what follows from them.

The table is in the notation of the recorded listing, so that a test can hold one to the other; arguments are checked
from it (`protocol.check`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REQUIRED = object()
"""The default of an argument that must be given."""

TABLE = """
## event
 POST  acquire_event_ranges(job_id: int, jobset_id: int, task_id: int = None, n_ranges: int = 10, timeout: int = 60, \
scattered: bool = False, segment_id: int = None) [secure] [prod]
 GET   get_available_event_range_count(job_id: int, jobset_id: int, task_id: int, timeout=60) [secure] [prod]
 GET   get_event_range_statuses(job_task_ids: str) [secure]
 POST  update_event_ranges(event_ranges: str, timeout: int = 120, version: int = 0) [secure] [prod]
 POST  update_single_event_range(event_range_id: str, event_range_status: str, core_count: int = None, \
cpu_consumption_time: float = None, object_store_id: <built-in function id> = None, timeout: int = 60) [secure] [prod]
## harvester
 POST  acknowledge_commands(command_ids: List, timeout: int = 30) [secure] [prod]
 POST  acquire_commands(harvester_id: str, n_commands: int, timeout: int = 30) [secure] [prod]
 POST  add_dialogs(harvester_id: str, dialogs: list) [secure]
 POST  add_sweep_command(panda_queue: str, status_list: List[str], ce_list: List[str], \
submission_host_list: List[str]) [secure] [prod]
 GET   get_current_worker_id(harvester_id: str) [secure]
 GET   get_worker_statistics() [secure]
 POST  heartbeat(harvester_id: str, data: dict = None) [secure]
 POST  report_worker_statistics(harvester_id: str, panda_queue: str, statistics: str) [secure]
 POST  update_service_metrics(harvester_id: str, metrics: list) [secure]
 POST  update_workers(harvester_id: str, workers: List) [secure]
## job
 GET   get_status(job_ids: List[int], timeout: int = 60) [secure]
 POST  kill(job_ids: List[int], code: int = None, use_email_as_id: bool = False, kill_options: List[str] = []) [secure]
 POST  set_command(job_id: int, command: str) [secure] [prod]
## metaconfig
 GET   get_resource_types() [secure]
## pilot
 POST  acquire_jobs(site_name: str, timeout: int = 60, memory: int = None, disk_space: int = None, \
prod_source_label: str = None, node: str = None, computing_element: str = None, prod_user_id: str = None, \
get_proxy_key: str = None, task_id: int = None, n_jobs: int = 1, background: bool = None, resource_type: str = None, \
harvester_id: str = None, worker_id: int = None, scheduler_id: str = None, job_type: str = None, \
via_topic: bool = None, remaining_time=None) [secure]
 GET   get_job_status(job_ids: List[int], timeout: int = 60) [secure]
 POST  update_job(job_id: int, job_status: str, job_output_report: str = '', node: str = None, \
cpu_consumption_time: int = None, cpu_consumption_unit: str = None, scheduler_id: str = None, pilot_id: str = None, \
site_name: str = None, pilot_log: str = '', meta_data: str = '', cpu_conversion_factor: float | int = None, \
trans_exit_code: int = None, pilot_error_code: int = None, pilot_error_diag: str = None, exe_error_code: int = None, \
exe_error_diag: str = None, pilot_timing: str = None, start_time: str = None, end_time: str = None, \
n_events: int = None, n_input_files: int = None, batch_id: str = None, attempt_nr: int = None, \
job_metrics: str = None, stdout: str = '', job_sub_status: str = None, core_count: int = None, \
max_rss: int | float = None, max_vmem: int | float = None, max_swap: int | float = None, max_pss: int | float = None, \
avg_rss: int | float = None, avg_vmem: int | float = None, avg_swap: int | float = None, avg_pss: int | float = None, \
tot_rchar: int | float = None, tot_wchar: int | float = None, tot_rbytes: int | float = None, \
tot_wbytes: int | float = None, rate_rchar: int | float = None, rate_wchar: int | float = None, \
rate_rbytes: int | float = None, rate_wbytes: int | float = None, corrupted_files: str = None, \
mean_core_count: int = None, cpu_architecture_level: str = None, grid: str = None, source_site: str = None, \
destination_site: str = None, timeout: int = 60) [secure] [prod]
 POST  update_jobs_bulk(job_list: List, harvester_id: str = None) [secure] [prod]
 POST  update_worker_status(worker_id, harvester_id, status, timeout=60, node_id=None) [secure] [prod]
## statistics
 GET   active_job_stats_by_site() [open]
## system
 GET   is_alive() [open]
"""

_LINE = re.compile(r" (?P<verb>GET|POST)\s+(?P<name>\w+)\((?P<arguments>.*)\) (?P<rights>\[.*\])")
_ARGUMENT = re.compile(r"(?P<name>\w+)(?:: (?P<type>.+?))?(?:\s*=\s*(?P<default>.+))?$")
_CLASSES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict}


@dataclass(frozen=True, kw_only=True, slots=True)
class Argument:
    """One argument: what it may be, and what it is when it is not given.

    `types` is empty where the server has no annotation; `item` is the type of a list's elements, where it says so.
    """

    name: str
    types: tuple[type, ...] = ()
    type_name: str = ""
    item: type | None = None
    default: Any = REQUIRED
    position: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """One method: its HTTP verb, its arguments, and whether it wants an identity and a production role."""

    name: str
    verb: str
    secure: bool
    production: bool
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    required: tuple[str, ...] = ()


def parse(table: str) -> dict[str, Signature]:
    """Read a listing; the keys are `module/method`."""
    signatures: dict[str, Signature] = {}
    module = ""
    for line in table.splitlines():
        if line.startswith("## "):
            module = line[3:].strip()
        elif match := _LINE.match(line):
            name = f"{module}/{match['name']}"
            arguments = [_argument(at, text) for at, text in enumerate(_split(match["arguments"]))]
            signatures[name] = Signature(
                name=name,
                verb=match["verb"],
                secure="[secure]" in match["rights"],
                production="[prod]" in match["rights"],
                arguments={argument.name: argument for argument in arguments},
                required=tuple(argument.name for argument in arguments if argument.default is REQUIRED),
            )
    return signatures


def _split(arguments: str) -> list[str]:
    """Take a list of arguments apart; no type or default in the listing has `, ` within."""
    return arguments.split(", ") if arguments else []


def _argument(position: int, text: str) -> Argument:
    """Read one argument, as in `n_jobs: int = 1`, `timeout=60` or `worker_id`."""
    match = _ARGUMENT.match(text)
    if match is None:
        raise ValueError(f"signature table: {text!r} is not an argument; write it as `name: type = default`")
    types, item = _types(match["type"] or "")
    default = REQUIRED if match["default"] is None else ast.literal_eval(match["default"])
    type_name = " | ".join(one.__name__ for one in types)
    return Argument(name=match["name"], types=types, type_name=type_name, item=item, default=default, position=position)


def _types(text: str) -> tuple[tuple[type, ...], type | None]:
    """Give the classes of an annotation and of the elements; nothing for one that is no class."""
    outer, _, inner = text.rstrip("]").partition("[")
    names = [name.lower() for name in outer.split(" | ")]
    types = tuple(_CLASSES[name] for name in names if name in _CLASSES)
    return types, _CLASSES.get(inner)


SIGNATURES = parse(TABLE)
