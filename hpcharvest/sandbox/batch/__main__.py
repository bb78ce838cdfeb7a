"""The command line of the embedded batch system.

Exit codes: 0 done, 1 refused (the reason in one line on stderr), 2 batch system unreachable (which says nothing about
any job), 64 wrong usage. It starts fast: only `serve` imports more than it takes to ask.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hpcharvest.sandbox.batch import client
from hpcharvest.sandbox.batch.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE_EXIT = 64
_COLUMNS = ("id", "name", "state", "exit_code", "nodes", "restart_count", "reason")


class Parser(argparse.ArgumentParser):
    """A parser whose usage errors do not look like an unreachable batch system."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with 64."""
        self.print_usage(sys.stderr)
        self.exit(USAGE_EXIT, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code."""
    args = _parser().parse_args(argv)
    try:
        if args.command == "serve":
            return _serve(args)
        answer = client.ask(Path(args.spool), _request(args), args.timeout)
    except (BatchError, OSError) as error:
        print(error, file=sys.stderr)
        return error.exit_code if isinstance(error, BatchError) else 1
    _show(args, answer)
    return 0


def _parser() -> Parser:
    parser = Parser(prog="hpcharvest.sandbox.batch", description="A batch system in small, in one spool folder.")
    parser.add_argument("--spool", required=True, help="the folder of the cluster")
    parser.add_argument("--timeout", type=float, default=client.DEFAULT_TIMEOUT_S, help="seconds to wait")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_serve(commands)
    _add_submit(commands)
    status = commands.add_parser("status", help="tell about all jobs in one answer")
    status.add_argument("--json", action="store_true")
    status.add_argument("--ids", type=_ids, help="only these: 1,2,3")
    status.add_argument("--history-s", type=float, help="finished jobs only of the last so many seconds")
    commands.add_parser("cancel", help="cancel jobs").add_argument("ids", type=int, nargs="+", metavar="ID")
    node = commands.add_parser("node", help="take a node away, or bring it back")
    node.add_argument("change", choices=("down", "up"))
    node.add_argument("name")
    preempt = commands.add_parser("preempt", help="take a running job from its nodes")
    preempt.add_argument("--mode", choices=("requeue", "cancel"), help="default: what the job was submitted with")
    preempt.add_argument("id", type=int, metavar="ID")
    commands.add_parser("info", help="tell about nodes, queues and limits, as JSON")
    stop = commands.add_parser("stop", help="end the daemon, and wait for it; running jobs go on")
    stop.add_argument("--cancel", action="store_true", help="cancel all jobs first")
    return parser


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser("serve", help="be the daemon of the cluster")
    serve.add_argument("--nodes", type=int, default=1)
    serve.add_argument("--cores-per-node", type=int, default=1)
    serve.add_argument(
        "--queue", type=_queue, action="append", metavar="NAME=MAX_WALLTIME_S", help="repeat for more; first: default"
    )
    serve.add_argument("--kill-grace", type=float, default=2.0, metavar="S", help="between SIGTERM and SIGKILL")
    serve.add_argument("--max-jobs-per-user", type=int, metavar="N", help="pending and running together")
    serve.add_argument("--retention", type=float, default=3600.0, metavar="S", help="how long ended jobs are shown")
    serve.add_argument("--ready-file", metavar="F", help="appears as soon as clients can connect")


def _add_submit(commands: Any) -> None:
    submit = commands.add_parser("submit", help="submit a script; prints the job's id")
    submit.add_argument("--nodes", type=int)
    submit.add_argument("--walltime", type=float, metavar="S")
    submit.add_argument("--name", metavar="TAG")
    submit.add_argument("--comment", metavar="TEXT")
    submit.add_argument("--signal", metavar="SIG@S", help="send SIG to the script's process group S before the end")
    submit.add_argument("--requeue", action=argparse.BooleanOptionalAction, help="after preemption or node failure")
    submit.add_argument("--queue", metavar="Q")
    submit.add_argument("--priority", type=int)
    submit.add_argument("--output", metavar="F", help="%%j is the job's id; default batch-%%j.out")
    submit.add_argument("--error", metavar="F", help="default: where the output goes")
    submit.add_argument("script")


def _request(args: argparse.Namespace) -> dict[str, Any]:
    match args.command:
        case "submit":
            wishes = {name: getattr(args, name) for name in client.WISHES}
            return client.submission(args.script, **wishes)
        case "status":
            return {"op": "status", "ids": args.ids, "history_s": args.history_s}
        case "cancel":
            return {"op": "cancel", "ids": args.ids}
        case "node":
            return {"op": "node", "name": args.name, "up": args.change == "up"}
        case "preempt":
            return {"op": "preempt", "id": args.id, "mode": args.mode}
        case command:  # info and stop
            return {"op": command, "cancel": getattr(args, "cancel", False)}


def _show(args: argparse.Namespace, answer: Any) -> None:
    if args.command == "submit":
        print(answer)
    elif args.command == "info":
        print(json.dumps(answer, indent=1))
    elif args.command == "status" and args.json:
        print(json.dumps(answer))
    elif args.command == "status":
        print("\t".join(_COLUMNS))
        for job in answer:
            print("\t".join(_cell(job[column]) for column in _COLUMNS))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return ",".join(value) if isinstance(value, list) else str(value)


def _ids(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def _queue(text: str) -> tuple[str, float]:
    name, _, limit = text.partition("=")
    return name, float(limit)


def _serve(args: argparse.Namespace) -> int:
    import logging

    from hpcharvest.sandbox.batch.server import Server
    from hpcharvest.sandbox.batch.settings import Settings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    queues = {"queues": dict(args.queue)} if args.queue else {}
    try:
        settings = Settings(
            nodes=args.nodes,
            cores_per_node=args.cores_per_node,
            kill_grace_s=args.kill_grace,
            max_jobs_per_user=args.max_jobs_per_user,
            retention_s=args.retention,
            **queues,
        )
    except ValueError as error:
        print(error, file=sys.stderr)
        return USAGE_EXIT
    Server(Path(args.spool), settings).run(args.ready_file and Path(args.ready_file))
    return 0


if __name__ == "__main__":
    sys.exit(main())
