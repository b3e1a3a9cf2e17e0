"""The pytest plugin: a fresh project with its workspace, and a stack in memory that is active in it.

It is there in every project where Drystone is installed with pytest, so it imports nothing of Drystone before a test
asks for one of its fixtures.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drystone import testing

if TYPE_CHECKING:
    from drystone.stacks import Stack
    from drystone.workspaces import Workspace

pytest.register_assert_rewrite(*sorted({*testing.__dict__["_HOMES"].values()} - {*sys.modules}))

KEPT = ("DRYSTONE_TEST_", "DRYSTONE_PLUGINS_", "DRYSTONE_NO_PLUGINS")
"""Variables that say how tests run rather than what Drystone does; plugins are loaded once per process anyway."""


@pytest.fixture
def drystone_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """The workspace of a fresh, empty project, which is the working directory (`tmp_path`).

    Nothing of the surroundings counts: neither variables of Drystone nor the project that the tests belong to. Modules
    that a test writes there are forgotten afterwards.
    """
    from drystone.workspaces import Workspace  # noqa: PLC0415 - see above

    (tmp_path / "pyproject.toml").touch()
    for name in list(os.environ):
        if name.startswith("DRYSTONE_") and not name.startswith(KEPT):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DRYSTONE_AUTHOR", "tests@localhost")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    workspace = Workspace.current()
    yield workspace
    workspace.close()
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(f"{tmp_path.resolve()}{os.sep}"):
            del sys.modules[name]


@pytest.fixture
def drystone_stack(drystone_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A stack in memory, active in a fresh project: `my_pipeline()` runs on it, in this process."""
    from drystone.choices import ENVIRONMENT, lent  # noqa: PLC0415 - see above
    from drystone.testing.memory_stacks import forget, memory_stack  # noqa: PLC0415 - see above

    stack = memory_stack()
    monkeypatch.setenv(ENVIRONMENT, stack.name)
    with lent(stack):
        yield stack
    forget(stack)
