"""`hpcharvest demo`: real collisions, harvested in a small world on this machine, and every result audited."""

from hpcharvest.cli.demo.command import demo

__all__ = ["demo"]
