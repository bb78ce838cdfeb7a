"""`hpcharvest`: the table of its commands. Asking for help imports none of them."""

from __future__ import annotations

from types import MappingProxyType

import click

import hpcharvest
from hpcharvest.cli.lazy import Later, LazyGroup

COMMANDS = MappingProxyType(
    {
        "run": Later("hpcharvest.cli.run:run", "Run the controller."),
        "status": Later("hpcharvest.cli.status:status", "Show on one page how things are."),
        "jobs": Later("hpcharvest.cli.jobs:jobs", "Look at jobs; stop or retry them."),
        "allocations": Later("hpcharvest.cli.allocations:allocations", "Look at allocations; withdraw them."),
        "doctor": Later("hpcharvest.cli.doctor:doctor", "Check everything that a controller needs."),
        "site": Later("hpcharvest.cli.site:site", "Make, check and show site files; see what is free."),
        "config": Later("hpcharvest.cli.config:config", "Show the configuration."),
        "sandbox": Later("hpcharvest.cli.sandbox:sandbox", "Run a PanDA server to try things out with."),
        "demo": Later("hpcharvest.cli.demo:demo", "Harvest real collisions on this machine."),
        "bench": Later("hpcharvest.cli.bench:bench", "Measure this installation, and crash it on purpose."),
    }
)


@click.group(
    cls=LazyGroup,
    later=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done; 1 something went wrong; 2 the command line or the configuration is wrong; "
    "3 another controller of the same harvester id is alive.",
)
@click.version_option(hpcharvest.__version__, prog_name="hpcharvest")
@click.option("--traceback", is_flag=True, help="With an error, show also where in the code it arose.")
def main(traceback: bool) -> None:
    """Harvest PanDA jobs on the edge node of an HPC centre.

    A command that needs the configuration finds it by --config or by the variable HPCHARVEST_CONFIG.
    """
