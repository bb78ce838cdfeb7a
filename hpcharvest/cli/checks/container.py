"""Check of the container engines: there, on this node, where images are pulled."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from hpcharvest.apps import containers
from hpcharvest.cli.checks.finding import Finding, failure, ok
from hpcharvest.cli.checks.partners import sites
from hpcharvest.config.schema import Configuration

ANSWER_S = 60.0


def engine(configuration: Configuration) -> Iterator[Finding]:
    """Ask each site's container engine for its version."""
    for here in sites(configuration):
        if here.container.engine == "none":
            continue
        argv = containers.version(here.container)
        try:
            done = subprocess.run(argv, capture_output=True, timeout=ANSWER_S, check=False, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired) as error:
            yield failure(f"site {here.name}: {argv[0]} cannot be run: {error}", "name it in [container] command")
            continue
        said = (done.stdout or done.stderr).decode(errors="replace").strip().splitlines() or ["not a word"]
        if done.returncode == 0:
            yield ok(f"site {here.name}: {here.container.engine} is there: {said[0]}")
        else:
            advice = f"try {' '.join(argv)} by hand on this machine"
            yield failure(f"site {here.name}: {argv[0]} fails: {said[-1]} (exit code {done.returncode})", advice)
