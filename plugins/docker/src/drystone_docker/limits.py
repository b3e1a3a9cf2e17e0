"""What a container may use: limits from what a step declares, and from the orchestrator's settings."""

from __future__ import annotations

import math
from typing import Any

import attrs

from drystone import Resources, thread_variables


@attrs.frozen(kw_only=True)
class Limits:
    """What a container may use; None is no limit.

    Attributes:
        cpus: Cores.
        memory: Bytes, swapped out or not.
        gpus: Graphics processors.
        shm_size: Bytes of `/dev/shm`, by which processes share memory.
    """

    cpus: float | None = None
    memory: int | None = None
    gpus: int | None = None
    shm_size: int | None = None

    def of(self, declared: Resources | None) -> Limits:
        """These limits, except where a step declares others."""
        given = attrs.asdict(declared) if declared is not None else {}
        return attrs.evolve(self, **{name: value for name, value in given.items() if value is not None})

    def of_host(self, cpus: int) -> dict[str, Any]:
        """As docker-py takes them, for an engine whose machine has so many cores; it refuses to limit to more.

        Without a size of its own `/dev/shm` may take half of the memory, as on machines without containers; what is in
        it counts as the container's memory.
        """
        from docker.types import DeviceRequest  # noqa: PLC0415 - takes 0.2 s

        shared = self.shm_size if self.shm_size is not None or self.memory is None else self.memory // 2
        gpus = [DeviceRequest(count=self.gpus, capabilities=[["gpu"]])] if self.gpus else None
        limits = {
            "nano_cpus": int(min(self.cpus, cpus) * 1e9) if self.cpus is not None else None,
            "mem_limit": self.memory,
            "memswap_limit": self.memory,
            "shm_size": shared,
            "device_requests": gpus,
        }
        return {name: value for name, value in limits.items() if value is not None}

    @property
    def variables(self) -> dict[str, str]:
        """What tells libraries how many threads to use."""
        return thread_variables(max(1, math.floor(self.cpus))) if self.cpus is not None else {}
