"""What the server is told to do wrong."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any


class Kind(StrEnum):
    """The ways to fail. *Before* means that nothing was done, *after* that everything was, and the answer is lost."""

    LATENCY = "latency"
    """Wait, then go on."""
    ERROR_500 = "error_500"
    """Before: status 500 and a line of text."""
    DROP_BEFORE = "drop_before"
    """Before: close the connection."""
    DROP_AFTER_COMMIT = "drop_after_commit"
    """After: close the connection."""
    GARBAGE = "garbage"
    """After: status 200 with bytes that are no JSON."""
    HTML = "html"
    """Before: status 200 with somebody's web page."""
    TORN_BODY = "torn_body"
    """After: half of the promised answer, then close the connection."""


@dataclass(kw_only=True, slots=True)
class Rule:
    """Fail so for calls whose `module/method` fits the pattern (`pilot/*`).

    With `count` only so many times; each time with `probability`. `seconds`: how long to wait, for latency.
    """

    kind: Kind
    method: str = "*"
    probability: float = 1.0
    count: int | None = None
    seconds: float = 0.0

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Rule:
        """Read a rule; ValueError says what is wrong with it."""
        unknown = given.keys() - {"kind", "method", "probability", "count", "seconds"}
        if unknown or "kind" not in given:
            raise ValueError(f"fault rule {dict(given)}: needs kind, and knows method, probability, count, seconds")
        rule = cls(**{**given, "kind": Kind(given["kind"])})
        if not 0 <= rule.probability <= 1 or rule.seconds < 0:
            raise ValueError(f"fault rule {dict(given)}: probability is in 0..1 and seconds are not negative")
        return rule


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to do with one call: wait so many seconds, then perhaps fail."""

    wait_s: float = 0.0
    failure: Kind | None = None


class Faults:
    """The rules in force. The dice are seeded, so that a run can be repeated."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._dice = random.Random(seed)  # noqa: S311 - dice of a test server guard nothing
        self._rules: list[Rule] = []
        self._done: Counter[str] = Counter()

    def add(self, rules: Iterable[Rule]) -> None:
        """Put rules in force, after those that are."""
        with self._lock:
            self._rules.extend(rules)

    def clear(self) -> None:
        """Behave from now on, and forget what was done."""
        with self._lock:
            self._rules.clear()
            self._done.clear()

    def plan(self, method: str) -> Plan:
        """Decide on one call: all latencies that apply, and the first failure."""
        if not self._rules:
            return Plan()
        with self._lock:
            wait_s, failure = 0.0, None
            for rule in self._rules:
                if rule.kind is not Kind.LATENCY and failure is not None:
                    continue
                if not self._applies(rule, method):
                    continue
                self._done[rule.kind] += 1
                if rule.kind is Kind.LATENCY:
                    wait_s += rule.seconds
                else:
                    failure = rule.kind
            return Plan(wait_s=wait_s, failure=failure)

    def _applies(self, rule: Rule, method: str) -> bool:
        if rule.count == 0 or not fnmatchcase(method, rule.method):
            return False
        if rule.probability < 1 and self._dice.random() >= rule.probability:
            return False
        if rule.count is not None:
            rule.count -= 1
        return True

    def summary(self) -> dict[str, int]:
        """Count what was done wrong, by kind."""
        with self._lock:
            return {str(kind): number for kind, number in self._done.items()}
