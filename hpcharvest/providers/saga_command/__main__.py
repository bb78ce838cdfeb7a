"""The command line. Answers are lines of JSON; the last one says how many there were, so that none is missed.

Exit codes: 0 done, 1 something broke that nobody foresaw, 2 batch system unreachable (which says nothing about any
job), 3 radical.saga cannot be used here, 4 refused (the reason on stderr), 64 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn

from hpcharvest.providers.saga_command import desk
from hpcharvest.providers.saga_command.reach import Refused, SagaReach, Unreachable, Unusable, load
from hpcharvest.providers.saga_command.records import Records, Wish

UNREACHABLE, UNUSABLE, REFUSED, USAGE = 2, 3, 4, 64
_EXITS: Final = {Refused: REFUSED, Unreachable: UNREACHABLE, Unusable: UNUSABLE}


class Parser(argparse.ArgumentParser):
    """A parser whose usage errors look like no answer about a batch job."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with 64."""
        self.exit(USAGE, f"{self.prog}: {message}\n")


def main(argv: Sequence[str]) -> int:
    """Run one command; give its exit code. SAGA's own chatter goes to stderr."""
    args = _parser().parse_args(argv)
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    count = 0
    try:
        for line in _run(args):
            print(json.dumps(line), file=answer)
            count += 1
    except tuple(_EXITS) as error:
        print(error, file=sys.stderr)
        return _EXITS[type(error)]
    print(json.dumps({"lines": count}), file=answer, flush=True)
    return 0


def _parser() -> Parser:
    parser = Parser(prog="hpcharvest.providers.saga_command", description="radical.saga, as a command line.")
    parser.add_argument("--url", required=True, help="of SAGA's resource manager: slurm://localhost/")
    parser.add_argument("--folder", required=True, type=_folder, help="keeps what was submitted; the nodes see it too")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="try whether radical.saga can be used")
    submit = commands.add_parser("submit", help="submit a script; gives its id")
    submit.add_argument("--tag", required=True, type=_tag)
    for name in ("--nodes", "--cores", "--walltime"):
        submit.add_argument(name, type=int, required=True)
    submit.add_argument("--warning", type=int, default=0, metavar="S", help="SIGUSR1 so long before the end")
    submit.add_argument("--queue", default="")
    submit.add_argument("--project", default="")
    submit.add_argument("--attribute", action="append", default=[], metavar="NAME=VALUE")
    submit.add_argument("script", type=Path)
    status = commands.add_parser("status", help="tell of all that goes on or ended lately, or of these only")
    status.add_argument("ids", nargs="*", metavar="ID")
    commands.add_parser("cancel", help="end some").add_argument("ids", nargs="+", metavar="ID")
    return parser


def _run(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    if args.command == "check":
        yield {"radical.saga": str(getattr(load(), "version", ""))}
        return
    saga = SagaReach(args.url)
    records = Records(args.folder)
    if args.command == "submit":
        yield {"id": desk.submit(saga, records, _wish(args), time.time())}
    elif args.command == "cancel":
        yield from ({"cancelled": one} for one in desk.cancel(saga, records, args.ids))
    else:
        yield from desk.status(saga, records, time.time(), args.ids)


def _wish(args: argparse.Namespace) -> Wish:
    return Wish(
        tag=args.tag,
        script=args.script.absolute(),
        nodes=args.nodes,
        cores=args.cores,
        walltime_s=args.walltime,
        warning_s=args.warning,
        queue=args.queue,
        project=args.project,
        attributes=tuple(args.attribute),
    )


def _folder(text: str) -> Path:
    """Read a folder that SAGA's scripts can name: it puts no quotes around it."""
    path = Path(text).absolute()
    if not all(one.isalnum() or one in "/._-+=@," for one in str(path)):
        raise argparse.ArgumentTypeError(f"{path} has characters that SAGA does not quote: choose another folder")
    return path


def _tag(text: str) -> str:
    if not text or text.startswith(".") or not all(one.isalnum() or one in "._-" for one in text):
        raise argparse.ArgumentTypeError(f"{text!r} is not made of letters, digits, dots, dashes and underscores")
    return text


def _leave(code: int) -> NoReturn:
    """End at once: SAGA's threads and shells would keep us, some for ever."""
    sys.stderr.flush()
    os._exit(code)


def _broken(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, trace)
    _leave(1)


if __name__ == "__main__":
    sys.excepthook = _broken
    _leave(main(sys.argv[1:]))
