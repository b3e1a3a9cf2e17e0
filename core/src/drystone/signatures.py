"""What a commit says of where it comes from: who, on which machine, with which version."""

from __future__ import annotations

import functools
import getpass
import importlib.metadata
import os
import socket
import subprocess
from contextlib import suppress


def author_name() -> str:
    """Who commits: `DRYSTONE_AUTHOR`, else the address Git knows, else the user of the system."""
    return os.environ.get("DRYSTONE_AUTHOR") or _user()


@functools.cache
def _user() -> str:
    command = ["git", "config", "user.email"]
    with suppress(OSError, subprocess.TimeoutExpired):
        asked = subprocess.run(command, capture_output=True, errors="replace", timeout=10, check=False)
        if address := asked.stdout.strip():
            return address
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container that runs as a user nobody told it of
        return str(os.getuid())


@functools.cache
def host_name() -> str:
    """The name of this machine."""
    return socket.gethostname()


@functools.cache
def package_version() -> str:
    """The version of Drystone that is running."""
    return importlib.metadata.version("drystone-core")
