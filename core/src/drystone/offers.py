"""What a project can use: its own stacks, those of plugins, and those that its workspace publishes."""

from __future__ import annotations

from pathlib import Path

from drystone.choices import Stacks
from drystone.locations import default_location
from drystone.plugins import Plugins, load_plugins
from drystone.projects import project_root
from drystone.publications import PublishedStack
from drystone.workspaces import Workspace


def find_stacks(root: Path | None = None, plugins: Plugins | None = None) -> Stacks:
    """The stacks of a project, of the installed plugins, and those that are published in its workspace.

    The workspace is asked when all are listed, or when a name is that of none of the others.

    Args:
        root: The project's root; found from the working directory by default.
        plugins: Those installed, by default.

    Raises:
        StackError: The file or module that defines stacks raises; names the place, and `__cause__` is what it raised.
        DuplicateComponentError: Two plugins offer stacks of one name.
    """
    home = root or project_root()

    def published() -> list[PublishedStack]:
        location = default_location(home)
        if found.workspace is None and isinstance(location, Path) and not location.exists():
            return []
        return Workspace.current(home).published()

    found = Stacks(home, plugins or load_plugins(), published)
    return found
