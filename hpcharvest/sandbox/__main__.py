"""`python -m hpcharvest.sandbox`: serve until SIGTERM."""

from __future__ import annotations

import argparse
from pathlib import Path

from hpcharvest.sandbox.events import MAX_UPDATES
from hpcharvest.sandbox.server import serve


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m hpcharvest.sandbox", description="A PanDA server to test with.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--ready-file", type=Path, help='gets {"url", "pid"} as JSON once the server listens')
    parser.add_argument("--jobs-file", type=Path, help="JSON list of job dictionaries to begin with")
    parser.add_argument(
        "--redeliver-after",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="hand out again a job of which nothing was heard for so long (60); negative: never",
    )
    parser.add_argument("--adder-delay", type=float, default=0.2, metavar="SECONDS", help="time in holding (0.2)")
    parser.add_argument("--require-token", metavar="TOKEN", help="the bearer token without which nobody is known")
    parser.add_argument(
        "--healthy-event-updates", action="store_true", help="answer update_event_ranges as documented, not with 500"
    )
    parser.add_argument(
        "--max-event-updates",
        type=int,
        default=MAX_UPDATES,
        metavar="N",
        help=f"take so many ranges in one update_event_ranges, and answer null to the rest ({MAX_UPDATES})",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the dice for faults (0)")
    given = parser.parse_args()
    serve(
        host=given.host,
        port=given.port,
        ready_file=given.ready_file,
        jobs_file=given.jobs_file,
        redeliver_after_s=given.redeliver_after if given.redeliver_after >= 0 else None,
        adder_delay_s=given.adder_delay,
        require_token=given.require_token,
        event_update_500=not given.healthy_event_updates,
        max_event_updates=given.max_event_updates,
        seed=given.seed,
    )


if __name__ == "__main__":
    main()
