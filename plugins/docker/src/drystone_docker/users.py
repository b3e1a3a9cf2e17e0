"""Who steps run as in containers, and what that user finds there."""

from __future__ import annotations

import getpass
import os
from contextlib import suppress

from drystone_docker.engines import Engine

HOME = "/tmp/drystone"
"""The home and first working directory of whoever it is: `/tmp` is open to all, and images may not know the user."""


def user_of(setting: str | None, engine: Engine) -> str:
    """The user and group of containers: by default the driver's own, so that files they write are the driver's.

    Root of a rootless engine is whoever runs the engine.
    """
    if setting is not None:
        return setting
    return "0:0" if engine.is_rootless else f"{os.getuid()}:{os.getgid()}"


def variables_of(user: str) -> dict[str, str]:
    """What makes `Path.home()` and `getpass.getuser()` work for a user that the image has never heard of."""
    name = user.partition(":")[0]
    known = name if not name.isdigit() else _own_name()
    return {"HOME": HOME, "USER": known, "LOGNAME": known, "PYTHONUNBUFFERED": "1"}


def _own_name() -> str:
    with suppress(KeyError, OSError):
        return getpass.getuser()
    return "drystone"
