"""Everything a call may need: the books, the events, the harvesters, who calls and what time it is."""

from __future__ import annotations

import hmac
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hpcharvest.sandbox.books import Books
from hpcharvest.sandbox.events import MAX_UPDATES, EventTable
from hpcharvest.sandbox.faults import Faults
from hpcharvest.sandbox.fleet import Fleet
from hpcharvest.sandbox.protocol import ProtocolError


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How the server is to behave.

    `redeliver_after_s`: see `Books`; None never hands a job out again. `adder_delay_s`: seconds in holding.
    `require_token`: the bearer token without which a caller is nobody; None takes everybody for production.
    `vo`: the one known virtual organisation. `event_update_500`: answer `update_event_ranges` as panda-server 1.0.3
    does, with status 500 after the commit, instead of as documented. `max_event_updates`: so many ranges are taken in
    one call, and the rest is answered with null.
    """

    redeliver_after_s: float | None = 60.0
    adder_delay_s: float = 0.2
    require_token: str | None = None
    vo: str = "atlas"
    event_update_500: bool = True
    max_event_updates: int = MAX_UPDATES
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who asks: `dn` is empty for somebody without identity."""

    dn: str = ""
    production: bool = False


class Desk:
    """The state of one server."""

    def __init__(self, options: Options | None = None, clock: Callable[[], float] = time.time) -> None:
        self.options = options or Options()
        self.clock = clock
        self.books = Books(redeliver_after_s=self.options.redeliver_after_s, adder_delay_s=self.options.adder_delay_s)
        self.events = EventTable(self.books, self.options.max_event_updates)
        self.fleet = Fleet()
        self.faults = Faults(self.options.seed)
        self.requests: Counter[str] = Counter()

    def reset(self) -> None:
        """Forget everything but the options."""
        self.books.reset()
        self.events.reset()
        self.fleet.reset()
        self.faults.clear()
        self.requests.clear()

    def identify(self, headers: Mapping[str, str]) -> Caller:
        """Tell who calls; ProtocolError (403) for a token that is no good.

        A token counts only together with `Origin: <vo>.<role>` (or with a colon).
        """
        if self.options.require_token is None:
            return Caller(dn="/DC=sandbox/O=hpcharvest/CN=Loopback", production=True)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme != "Bearer":
            return Caller()
        if "origin" not in headers:
            raise ProtocolError(403, "Traceback (most recent call last):\nKeyError: 'HTTP_ORIGIN'\n")
        vo, _, role = headers["origin"].replace(":", ".").partition(".")
        if vo != self.options.vo:
            raise ProtocolError(403, f"ERROR : Token authentication failed. Unknown vo : {vo}")
        if not hmac.compare_digest(token.encode(), self.options.require_token.encode()):
            raise ProtocolError(403, "ERROR : Token authentication failed. Corrupted token.")
        return Caller(dn="Sandbox User/CN=nickname:sandbox", production=role == "production")

    def summary(self) -> dict[str, Any]:
        """Give the whole account, for JSON; `cpu_s` is the CPU time of this process so far."""
        return {
            **self.books.summary(self.clock()),
            "requests": dict(self.requests),
            "events": self.events.summary(),
            "fleet": self.fleet.summary(),
            "faults": self.faults.summary(),
            "cpu_s": time.process_time(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call of a method, checked and authorised; `now` in seconds since the epoch."""

    desk: Desk
    caller: Caller
    now: float = field(default=0.0)
