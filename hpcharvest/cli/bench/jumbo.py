"""What event ranges cost, and how soon and how fully they keep nodes busy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from hpcharvest.cli.bench import jumbo_rush, jumbo_start, jumbo_virtual

PROMISED: Final = (
    "core_time_in_events_2h",
    "startup_s_8_nodes",
    "startup_s_10000_nodes",
    "ranges_per_s",
    "peak_rss_mb_1m_ranges",
    "faults",
    "lost",
    "reported_twice",
)

A_MILLION: Final = 1_000_000


def measure(
    folder: Path, *, ranges: int, batch: int, nodes: int, start_nodes: int, cores: int, seed: int
) -> dict[str, Any]:
    """Measure all that can be measured without a controller. A figure that was not measured is None."""
    figures: dict[str, Any] = dict.fromkeys(PROMISED)
    figures |= jumbo_rush.measure(folder / "rush", ranges, batch)
    if ranges >= A_MILLION:
        figures["peak_rss_mb_1m_ranges"] = figures["peak_rss_mb"]
    figures |= jumbo_start.measure(folder / "start")
    figures |= jumbo_virtual.start(start_nodes, cores, seed)
    figures |= jumbo_virtual.two_hours(nodes, cores, seed)
    return figures
