"""Trying again what failed for reasons that pass."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from drystone_s3.failures import is_answered, is_transient

T = TypeVar("T")

LEAST = 3
"""So often everything is tried at least."""

PATIENCE = {False: 6.0, True: 30.0}
"""Seconds after the first failure until nothing is tried any more: of silence, and of refusals."""

FIRST, LONGEST = 0.1, 5.0
"""Seconds of the first pause on average, and of the longest."""


async def attempted(attempt: Callable[[], Awaitable[T]]) -> T:
    """What an attempt returns, or raises when it is hopeless to try once more.

    Pauses double, and are random, so that many who were refused at once do not come back at once.
    """
    failed_at: float | None = None
    number = 0
    while True:
        number += 1
        try:
            return await attempt()
        except Exception as exc:
            failed_at = failed_at or time.monotonic()
            tired = time.monotonic() - failed_at > PATIENCE[is_answered(exc)] and number >= LEAST
            if tired or not is_transient(exc):
                raise
        await asyncio.sleep(random.uniform(0.5, 1.5) * min(LONGEST, FIRST * 2 ** (number - 1)))
