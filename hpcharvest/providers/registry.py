"""Which dialects there are: the one table of ours, and entry points for those of others."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from hpcharvest.config.schema import Site
from hpcharvest.errors import ConfigurationError
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.dialect import Dialect
from hpcharvest.providers.local import LocalDialect
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
    if site.batch.command:
        raise ConfigurationError(
            f"site {site.site.name!r}: batch.command has no effect with the slurm dialect, whose commands are found "
            "through PATH; another PATH may be given in batch.environment"
        )
    return SlurmDialect()


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


OURS: dict[str, Callable[[Site], Dialect]] = {"local": _local, "saga": _saga, "slurm": _slurm}


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
