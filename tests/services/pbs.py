"""What PBS answers about jobs, made up or real."""

from __future__ import annotations

import json
from typing import Any

from hpcharvest.providers.dialect import Spoken
from tests.services.recordings import recorded

HEAD = '{\n\t"timestamp":\t1,\n\t"pbs_version":\t"23.06.06",\n\t"pbs_server":\t"vm"'
"""The beginning of an answer in JSON, up to where the jobs follow, if there are any."""


def recorded_jobs(name: str) -> dict[str, dict[str, Any]]:
    """Give the jobs of an answer in JSON, by id."""
    jobs: dict[str, dict[str, Any]] = json.loads(recorded("pbs", name).out)["Jobs"]
    return jobs


def in_json(*jobs: str) -> Spoken:
    """Give an answer with these jobs, each the text between its braces."""
    told = ",\n".join(f'\t\t"{number}.vm":\t{{\n{job}\n\t\t}}' for number, job in enumerate(jobs, start=1))
    return Spoken(exit_code=0, out=f'{HEAD},\n\t"Jobs":\t{{\n{told}\n\t}}\n}}\n')


def in_text(**attributes: str) -> Spoken:
    """Give an answer in text with one job; two underscores stand for a dot."""
    lines = "".join(f"    {name.replace('__', '.')} = {value}\n" for name, value in attributes.items())
    return Spoken(exit_code=0, out=f"Job Id: 7.vm\n{lines}\n")


def job(**attributes: str) -> str:
    """Give what stands between the braces of a job; values are JSON, or not."""
    return ",\n".join(f'\t\t\t"{name}":\t{value}' for name, value in attributes.items())
