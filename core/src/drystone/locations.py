"""Where workspaces are: URLs, and the directories of this machine that belong to them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from drystone.catalogs import providing
from drystone.databases import made_directory
from drystone.digests import digest_bytes
from drystone.errors import WorkspaceError
from drystone.ledgers import SharedLedger
from drystone.plugins import load_plugins
from drystone.projects import HOME, workspace_directory


def is_url(location: object) -> bool:
    """Whether a location means a shared workspace."""
    return isinstance(location, str) and "://" in location


def replica_directory(url: str) -> Path:
    """Where this user keeps the copy of a shared ledger; made if it does not exist."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return made_directory(cache / "drystone" / "workspaces" / digest_bytes(url.encode())[:32])


def opened_ledger(url: str) -> SharedLedger:
    """The ledger behind a URL.

    Raises:
        WorkspaceError: No plugin offers its scheme, or it cannot be opened.
    """
    return opener(url)()


def opener(url: str) -> Callable[[], SharedLedger]:
    """What opens the ledger behind a URL, once that is needed.

    Raises:
        WorkspaceError: No plugin offers its scheme.
    """
    scheme, plugins = urlsplit(url).scheme, load_plugins()
    offer = plugins.scheme("drystone_ledgers", scheme)
    if offer is None:
        known = sorted(f"{name}://" for _, name in plugins.unique("drystone_ledgers"))
        hooked = f" Install a plugin that offers {scheme}:// through the hook drystone_ledgers."
        remedy = providing(scheme=scheme) or hooked
        raise WorkspaceError(
            f"No plugin opens a workspace at {scheme}://. Installed: {', '.join(known) or 'none'}.{remedy}"
            f"{plugins.absent()}"
        )
    return functools.partial(offer, url)


def default_location(root: Path) -> str | Path:
    """Where the workspace of a project is, if its `stacks.py` does not say."""
    home = os.environ.get(HOME, "")
    return home if is_url(home) else workspace_directory(root)


def location_directory(location: str | Path) -> Path:
    """The directory of a workspace on this machine; made if it does not exist."""
    return replica_directory(str(location)) if is_url(location) else made_directory(location)
