"""Who is who. Distinct types, so that a job's number is never taken for an allocation's."""

from __future__ import annotations

from typing import NewType

JobId = NewType("JobId", int)
"""PanDA's PandaID."""

AllocationId = NewType("AllocationId", int)
"""Our number of an allocation; PanDA knows it as the worker's id."""

Attempt = NewType("Attempt", int)
"""Ours, from 1: how often a job's payload was given to an allocation. PanDA's own attemptNr is `JobSpec.attempt_nr`."""

BundleId = NewType("BundleId", int)
"""Our number of a bundle of event ranges; never used again."""
