"""What containers are called, and what they are labelled with, so that they are found again."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping

TASK = "org.drystone.task"
"""The label of the task that a container runs."""

NAMES = {
    "org.drystone.run": "DRYSTONE_RUN",
    "org.drystone.pipeline": "DRYSTONE_PIPELINE",
    "org.drystone.step": "DRYSTONE_STEP",
    "org.drystone.attempt": "DRYSTONE_ATTEMPT",
}
"""Labels that say what it is, and the variables that say it."""

DRIVER = "org.drystone.driver"
"""The label of the process that has started it: its machine and its number."""

LOG = {"Type": "json-file", "Config": {"max-size": "64m", "max-file": "2"}}
"""How the engine keeps what is printed: so much of it, that nothing fills its disk; the driver has all of it."""


def of(task_uri: str, variables: Mapping[str, str]) -> dict[str, str]:
    """The labels of the container of a task."""
    driver = f"{socket.gethostname()}:{os.getpid()}"
    return {TASK: task_uri, DRIVER: driver} | {label: variables.get(name, "") for label, name in NAMES.items()}


def name(variables: Mapping[str, str]) -> str:
    """A name for people, which no other container has: `drystone-training-17-train-1-3fa29c`."""
    parts = [variables[each] for each in ("DRYSTONE_RUN", "DRYSTONE_STEP", "DRYSTONE_ATTEMPT") if variables.get(each)]
    plain = re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(["drystone", *parts]))
    return f"{plain[:100].rstrip('-')}-{os.urandom(4).hex()}"
