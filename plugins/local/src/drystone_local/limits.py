"""What a running step may take: time and memory, looked at from outside."""

from __future__ import annotations

import time

from drystone_local.crews import Worker
from drystone_local.processes import exact_memory, memory
from drystone_local.tasks import Task, over_limit, timed_out

SAMPLE = 0.05
"""Seconds between two looks at the memory of a step; more where looking takes long."""

SHARE = 0.05
"""How much of its time the pool may spend on looking."""


def judged(worker: Worker, task: Task) -> tuple[Exception | None, float | None]:
    """The limit that a running task is over, as an error, and the seconds after which to look again."""
    now = time.monotonic()
    left = None if task.timeout is None else worker.started + task.timeout - now
    if left is not None and left <= 0:
        return timed_out(task), None
    if task.limit is None or worker.process is None:
        return None, left
    if now >= worker.look_at:
        if memory(worker.process) > task.limit and (used := exact_memory(worker.process)) > task.limit:
            return over_limit(task, used), None
        now, before = time.monotonic(), now
        worker.look_at = now + max(SAMPLE, (now - before) / SHARE)
    wait = worker.look_at - now
    return None, wait if left is None else min(wait, left)
