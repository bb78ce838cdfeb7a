"""Checks of those we talk to: the PanDA server, the batch systems, the runner's Python."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hpcharvest.cli.checks.finding import Finding, failure, ok
from hpcharvest.config.schema import Configuration, Site
from hpcharvest.engine import launch
from hpcharvest.engine.parts import client_of
from hpcharvest.engine.parts import credentials as shown_to
from hpcharvest.engine.runner_zip import RunnerFile
from hpcharvest.errors import HarvestError
from hpcharvest.messenger.protocol import ExitCode
from hpcharvest.model.words import counted
from hpcharvest.providers.registry import batch_system, dialect

RUNNER_S = 60.0
"""Seconds that a Python gets to start: on a parallel file system imports take long."""


def credentials(configuration: Configuration) -> Iterator[Finding]:
    """Read what we show to PanDA."""
    panda = configuration.panda
    shown_to(panda).check()
    file = panda.token_file or panda.client_certificate
    yield ok(f"the credentials in {file} can be read" if file else "no credentials are configured, and none are shown")


def panda(configuration: Configuration) -> Iterator[Finding]:
    """Ask the PanDA server whether it is alive."""
    try:
        client_of(configuration).is_alive()
    except HarvestError as error:
        advice = "look at panda.url, at the network and its proxies, and whether the server is up"
        yield failure(f"{configuration.panda.url}: {error}", advice)
    else:
        yield ok(f"{configuration.panda.url} is alive")


def batch(configuration: Configuration) -> Iterator[Finding]:
    """Ask each site's batch system about our batch jobs."""
    for here in sites(configuration):
        try:
            said = batch_system(here).status()
        except HarvestError as error:
            asked = " ".join(dialect(here).status_argv()[:3])
            advice = f"try its commands by hand on this machine ({asked} …)"
            yield failure(f"site {here.name}: {error}", advice)
        else:
            alive = sum(not one.state.ended for one in said.values())
            jobs = counted(len(said), "batch job")
            yield ok(f"site {here.name}: the batch system answers, and lists {jobs} ({alive} alive)")


def runner(configuration: Configuration) -> Iterator[Finding]:
    """Start each site's Python with the runner, which is to complain that it got no folder."""
    with tempfile.TemporaryDirectory() as folder:
        file = RunnerFile(Path(folder))
        file.place()
        for here in sites(configuration):
            yield _runs(here, launch.runner_argv(here, file.path))


def _runs(here: Site, argv: tuple[str, ...]) -> Finding:
    try:
        done = subprocess.run(
            argv, capture_output=True, timeout=RUNNER_S, check=False, stdin=subprocess.DEVNULL, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return failure(f"site {here.name}: {argv[0]} cannot be run: {error}", "name another in [software] python")
    if done.returncode == ExitCode.USAGE:
        return ok(f"site {here.name}: {argv[0]} can run the runner")
    last = (done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    within = ", in which this hpcharvest is installed" if here.software.runner == "package" else ""
    advice = f"name in [software] a Python, 3.11 or later{within}"
    return failure(f"site {here.name}: {argv[0]} cannot run the runner: {last}", advice)


def sites(configuration: Configuration) -> list[Site]:
    """Give each site once."""
    return list({queue.site.name: queue.site for queue in configuration.queues.values()}.values())
