"""What every answer of the v1 API comes in: `{"success": bool, "message": str, "data": anything}`."""

from __future__ import annotations

import json
import reprlib
from dataclasses import dataclass
from typing import Any

from hpcharvest.errors import AnswerNotUnderstood, ServerRefused

_NO_JOBS = "no jobs in panda"
_EXCERPT = 200
_SHOW = reprlib.Repr()
_SHOW.maxlevel = 2
_SHOW.maxstring = _SHOW.maxother = _EXCERPT


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An answer, unpacked. Almost every failure comes with HTTP 200 and `success` false."""

    success: bool
    message: str
    data: Any

    @property
    def no_jobs(self) -> bool:
        """Whether this is the ordinary "there is nothing for you", which the server says as a failure."""
        return not self.success and self.message.lower() == _NO_JOBS

    def unwrap(self) -> Any:
        """Return the data; raise `ServerRefused` with the server's own message if it said no."""
        if not self.success:
            raise ServerRefused(f"the PanDA server refused: {excerpt(self.message)}")
        return self.data


def decode_envelope(body: bytes) -> Envelope:
    """Unpack an answer's body; raise `AnswerNotUnderstood` for anything that is not an envelope."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise AnswerNotUnderstood(f"the PanDA server's answer is not JSON ({problem}): {excerpt(body)}") from problem
    if not isinstance(answer, dict) or not isinstance(answer.get("success"), bool):
        raise AnswerNotUnderstood(f"the PanDA server's answer is no v1 answer: {excerpt(body)}")
    message = answer.get("message")
    return Envelope(
        success=answer["success"],
        message=message if isinstance(message, str) else "",
        data=answer.get("data"),
    )


def excerpt(what: Any) -> str:
    """Show what was found, however large or deep, in at most 200 printable characters."""
    return _SHOW.repr(what[:_EXCERPT] if isinstance(what, bytes) else what)[:_EXCERPT]
