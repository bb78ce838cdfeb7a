"""Archives of event ranges' outputs, as clients report them: registered once per name and job.

Source: `zipoutput` rows of panda-server 1.0.3. What a second report says of an archive that is known changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PLACE = re.compile(r"\d+(/\d+)?")
_KEYS = ("fsize", "adler32", "md5", "objstoreID", "pathConvention")


@dataclass(kw_only=True, slots=True, eq=False)
class Zip:
    """One archive. `reports`: how many chunks named it; `conflicts`: how many of them told of another content."""

    job_id: int
    lfn: str
    told: dict[str, Any]
    reports: int = 0
    conflicts: int = 0

    @property
    def place(self) -> str:
        """Where it is, `<object store>[/<path convention>]`."""
        convention = self.told.get("pathConvention")
        return f"{self.told.get('objstoreID')}{'' if convention is None else f'/{convention}'}"

    @property
    def placed(self) -> bool:
        """Whether the server can make an input of it: it wants numbers where people would write a name."""
        return _PLACE.fullmatch(self.place) is not None

    def detail(self) -> dict[str, Any]:
        """Give it for JSON."""
        return {
            "job_id": self.job_id,
            "lfn": self.lfn,
            "place": self.place,
            "size": self.told.get("fsize"),
            "adler32": self.told.get("adler32"),
            "md5": self.told.get("md5"),
            "reports": self.reports,
            "conflicts": self.conflicts,
        }


class Zips:
    """All archives of the server."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], Zip] = {}

    def register(self, job_id: int, said: Mapping[str, Any]) -> Zip:
        """Give the archive of that name and job, as it was told first."""
        told = {key: said[key] for key in _KEYS if key in said}
        one = self._known.setdefault((job_id, said["lfn"]), Zip(job_id=job_id, lfn=said["lfn"], told=told))
        one.reports += 1
        one.conflicts += one.told != told
        return one

    def details(self) -> list[dict[str, Any]]:
        """Give all of them, for JSON."""
        return [one.detail() for one in self._known.values()]

    def summary(self) -> dict[str, int]:
        """Count them, and those that were told of in two ways or are nowhere."""
        known = self._known.values()
        return {
            "zips": len(known),
            "zips_in_conflict": sum(1 for one in known if one.conflicts),
            "zips_nowhere": sum(1 for one in known if not one.placed),
        }
