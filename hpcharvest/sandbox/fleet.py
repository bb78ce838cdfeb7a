"""What the server knows of its harvesters: heartbeats, workers, commands, statistics."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hpcharvest.sandbox.books import DatabaseError

INSTANCE_COLUMNS = frozenset({"startTime", "sw_version", "commit_stamp", "description", "commands"})
"""The keys of a heartbeat; the server uses them as column names and stumbles over any other."""

FINAL_WORKER_STATES = frozenset({"finished", "failed", "cancelled", "missed"})
FINAL_STICKS_S = 3 * 3600.0


class Fleet:
    """All harvesters of the server. Raises DatabaseError where the real server's database refuses."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self.instances: dict[str, dict[str, Any]] = {}
            self.heartbeats = 0
            self.workers: dict[str, dict[int, dict[str, Any]]] = {}
            self._final_at: dict[tuple[str, int], float] = {}
            self.pilot_workers: dict[tuple[str, str], str] = {}
            self.statistics: dict[str, dict[str, Any]] = {}
            self.dialogs: list[dict[str, Any]] = []
            self.metrics: list[Any] = []
            self._commands: list[tuple[str, dict[str, Any]]] = []
            self.acknowledged: list[int] = []
            self._last_command = 0

    def heartbeat(self, harvester_id: str, data: Mapping[str, Any] | None) -> None:
        """Note a sign of life; the first one of an unknown harvester makes its row and is refused all the same."""
        with self._lock:
            if data is None or not INSTANCE_COLUMNS.issuperset(data):
                raise DatabaseError("heartbeat with keys that are no columns")
            known = harvester_id in self.instances
            self.instances.setdefault(harvester_id, {}).update(data)
            if not known:
                raise DatabaseError(f"{harvester_id}: first heartbeat")
            self.heartbeats += 1

    def update_workers(self, harvester_id: str, workers: Sequence[Mapping[str, Any]], now: float) -> list[bool]:
        """Note workers; a final status stays for three hours."""
        with self._lock:
            if not workers or any(worker.get("workerID") is None for worker in workers):
                raise DatabaseError("no workers, or one without workerID")
            mine = self.workers.setdefault(harvester_id, {})
            for worker in workers:
                self._update_worker(harvester_id, mine.setdefault(worker["workerID"], {}), worker, now)
            return [True] * len(workers)

    def _update_worker(self, harvester_id: str, row: dict[str, Any], worker: Mapping[str, Any], now: float) -> None:
        key = (harvester_id, worker["workerID"])
        kept = row.get("status") if now < self._final_at.get(key, -FINAL_STICKS_S) + FINAL_STICKS_S else None
        row.update(worker)
        if kept is not None:
            row["status"] = kept
        elif row.get("status") in FINAL_WORKER_STATES:
            self._final_at[key] = now

    def current_worker_id(self, harvester_id: str) -> int:
        """Give the highest worker id of a harvester that has any."""
        with self._lock:
            mine = self.workers.get(harvester_id)
            if not mine:
                raise DatabaseError(f"{harvester_id} has no workers")
            return max(mine)

    def add_command(
        self, harvester_id: str, command: str, params: Mapping[str, Any], *, ack_requested: int, now: float
    ) -> int:
        """Queue a command and give its id."""
        with self._lock:
            self._last_command += 1
            row = {
                "command_id": self._last_command,
                "command": command,
                "params": dict(params),
                "ack_requested": ack_requested,
                "creation_date": datetime.fromtimestamp(now, UTC).replace(tzinfo=None).isoformat(),
            }
            self._commands.append((harvester_id, row))
            return self._last_command

    def acquire_commands(self, harvester_id: str, n_commands: int) -> list[dict[str, Any]]:
        """Hand out commands, each once."""
        with self._lock:
            mine = [item for item in self._commands if item[0] == harvester_id][: max(0, n_commands)]
            taken = {item[1]["command_id"] for item in mine}
            self._commands = [item for item in self._commands if item[1]["command_id"] not in taken]
            return [row for _, row in mine]

    def acknowledge(self, command_ids: Sequence[int]) -> None:
        """Note acknowledgements; unknown ids are taken as well."""
        with self._lock:
            if not command_ids:
                raise DatabaseError("no command ids")
            self.acknowledged.extend(command_ids)

    def sweep(self, queue: str, params: Mapping[str, Any], now: float) -> None:
        """Tell every harvester with workers in a queue to kill them."""
        with self._lock:
            for harvester_id, workers in self.workers.items():
                if any(worker.get("computingSite") == queue for worker in workers.values()):
                    self.add_command(harvester_id, "KILL_WORKERS", params, ack_requested=0, now=now)

    def summary(self) -> dict[str, Any]:
        """Give what the harvesters told."""
        with self._lock:
            return {
                "instances": {key: dict(value) for key, value in self.instances.items()},
                "heartbeats": self.heartbeats,
                "workers": {key: list(mine.values()) for key, mine in self.workers.items()},
                "commands_waiting": len(self._commands),
                "commands_acknowledged": list(self.acknowledged),
                "dialogs": len(self.dialogs),
                "metrics": len(self.metrics),
            }
