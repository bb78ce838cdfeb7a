"""Which dialects there are: the one table of ours, and entry points for those of others."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from hpcharvest.config.schema import Site
from hpcharvest.errors import ConfigurationError
from hpcharvest.model.shape import NodeShape
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.cobalt import CobaltDialect
from hpcharvest.providers.dialect import Dialect
from hpcharvest.providers.local import LocalDialect
from hpcharvest.providers.lsf import LsfDialect
from hpcharvest.providers.pbs import VARIANTS, PbsDialect
from hpcharvest.providers.saga import EXAMPLE, SagaDialect, check, is_one_host
from hpcharvest.providers.slurm import SlurmDialect

ENTRY_POINTS = "hpcharvest.dialects"
"""The group in which others publish a factory: a callable that takes a Site and gives a Dialect."""


def _local(site: Site) -> Dialect:
    if not site.batch.command:
        raise ConfigurationError(
            f"site {site.site.name!r}: the local dialect needs batch.command, the embedded batch system's command line "
            'with its spool folder, such as ["python3", "-m", "hpcharvest.sandbox.batch", "--spool", "/folder"]'
        )
    return LocalDialect(site.batch.command)


def _slurm(site: Site) -> Dialect:
    _no_command(site)
    return SlurmDialect()


def _pbs(site: Site) -> Dialect:
    """Make PBS or Torque, whichever the site names: rows of one table."""
    _no_command(site)
    node = NodeShape(cores=site.nodes.cores, memory_mb=site.nodes.memory_mb, gpus=site.nodes.gpus)
    return PbsDialect(VARIANTS[site.batch.dialect], node)


def _cobalt(site: Site) -> Dialect:
    _no_command(site)
    _no_qos(site)
    return CobaltDialect()


def _lsf(site: Site) -> Dialect:
    _no_command(site)
    _no_qos(site)
    return LsfDialect()


def _saga(site: Site) -> Dialect:
    if not site.batch.command:
        raise ConfigurationError(
            f"site {site.site.name!r}: the saga dialect needs batch.command, with the URL that radical.saga is to "
            f"speak to and a folder for what it submitted, such as {EXAMPLE}"
        )
    if is_one_host(site.batch.command) and site.allocation.max_nodes > 1:
        raise ConfigurationError(
            f"site {site.site.name!r}: SAGA's fork:// has one node, this host, but allocation.max_nodes is "
            f"{site.allocation.max_nodes}"
        )
    check(site.batch.command, site.batch.environment, site.site.name)
    return SagaDialect(site.batch.command, cores=site.nodes.cores)


def _no_command(site: Site) -> None:
    if site.batch.command:
        raise ConfigurationError(
            f"site {site.site.name!r}: batch.command has no effect with the {site.batch.dialect} dialect, whose "
            "commands are found through PATH; another PATH may be given in batch.environment"
        )


def _no_qos(site: Site) -> None:
    if site.batch.qos:
        raise ConfigurationError(
            f"site {site.site.name!r}: batch.qos has no effect with the {site.batch.dialect} dialect, which knows "
            "queues only: name one in batch.partition"
        )


OURS: dict[str, Callable[[Site], Dialect]] = {
    "local": _local,
    "slurm": _slurm,
    **dict.fromkeys(VARIANTS, _pbs),
    "cobalt": _cobalt,
    "lsf": _lsf,
    "saga": _saga,
}


def dialect(site: Site) -> Dialect:
    """Give the dialect that `site` names. Raises ConfigurationError, which lists those that there are."""
    name = site.batch.dialect
    if name in OURS:
        return OURS[name](site)
    others = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in others:
        known = ", ".join(sorted({*OURS, *others}))
        raise ConfigurationError(f"no dialect {name!r} for site {site.site.name!r}; there are: {known}")
    try:
        factory: Callable[[Site], Dialect] = others[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"the dialect {name!r} cannot be loaded: {error}") from error
    return factory(site)


def batch_system(site: Site) -> BatchSystem:
    """Give the batch system of `site`, ready to be spoken to."""
    return BatchSystem(
        dialect(site),
        timeout_s=site.batch.command_timeout_s,
        per_minute=site.batch.commands_per_minute,
        environment=site.batch.environment,
    )
