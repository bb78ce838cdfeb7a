"""`hpcharvest sandbox`: the PanDA server that comes with hpcharvest, to try things out with."""

from __future__ import annotations

from pathlib import Path

import click

from hpcharvest.cli import options
from hpcharvest.cli.output import complain
from hpcharvest.errors import ConfigurationError

_EXTRA = frozenset({"starlette", "uvicorn"})


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="The port; 0 takes a free one."
)
@click.option("--ready-file", type=options.FILE, help='Gets {"url", "pid"} as JSON once the server listens.')
@click.option("--jobs-file", type=options.FILE, help="A JSON list of job dictionaries to begin with.")
@click.option(
    "--redeliver-after",
    type=float,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Hand out a job again of which nothing was heard for so long; negative: never.",
)
def sandbox(host: str, port: int, ready_file: Path | None, jobs_file: Path | None, redeliver_after: float) -> None:
    """Run a PanDA server to try things out with, until SIGTERM or Ctrl-C. It keeps nothing and trusts everybody."""
    try:
        from hpcharvest.sandbox.server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise ConfigurationError(
            f"the sandbox needs {error.name}, which is not installed: pip install 'hpcharvest[sandbox]'"
        ) from error
    try:
        serve(
            host=host,
            port=port,
            ready_file=ready_file,
            jobs_file=jobs_file,
            redeliver_after_s=redeliver_after if redeliver_after >= 0 else None,
            listens=lambda url: complain(f"the sandbox is a PanDA server at {url}, until SIGTERM or Ctrl-C"),
        )
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the sandbox cannot be started: {error}") from error
