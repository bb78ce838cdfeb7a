"""How large and how long: the shape of what is asked for, and of what there is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeShape:
    """What one node offers."""

    cores: int
    memory_mb: int = 0
    """0: unknown, and so no limit."""
    gpus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What one batch job asks for."""

    nodes: int
    walltime_s: int
    partition: str = ""
