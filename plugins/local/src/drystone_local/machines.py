"""What this machine has for steps: cores, memory, graphics processors; and how libraries are told how many to use."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

import attrs

from drystone import thread_variables


@attrs.frozen
class Machine:
    """What steps may use at a time: cores, bytes of memory, graphics processors."""

    cpus: int
    memory: int
    gpus: int


def this_machine() -> Machine:
    """What this process may use of the machine it runs on, which in a container may be less than there is."""
    group = _control_group()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    quota, _, period = _limit(group, "cpu.max").partition(" ")
    cpus = _cpus()
    if quota.isdigit():
        cpus = min(cpus, max(1, math.ceil(int(quota) / int(period))))
    most = _limit(group, "memory.max")
    return Machine(cpus, min(memory, int(most)) if most.isdigit() else memory, _gpus())


def _cpus() -> int:
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _control_group() -> Path:
    """The directory with the limits of this process (version 2); it may not exist."""
    path = ""
    with suppress(OSError):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        path = next((line[len("0::") :] for line in lines if line.startswith("0::")), "")
    return Path("/sys/fs/cgroup", path.strip("/"))


def _limit(group: Path, name: str) -> str:
    """What a file of a control group says, or of the nearest one above it that has it; else empty."""
    for each in (group, *group.parents[:-3]):
        with suppress(OSError):
            return (each / name).read_text().strip()
    return ""


def _gpus() -> int:
    """Those of NVIDIA that this process may use; at least one, since others cannot be counted here."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        return len(visible.split(","))
    return max(1, len(list(Path("/dev").glob("nvidia[0-9]*"))))


def environment(threads: int, *, declared: bool) -> dict[str, str]:
    """This process's environment, in which libraries are told to use so many threads.

    Args:
        threads: How many.
        declared: Whether a step asks for them; else what the user has set comes first.
    """
    chosen = thread_variables(threads)
    return {**os.environ, **chosen} if declared else {**chosen, **os.environ}
