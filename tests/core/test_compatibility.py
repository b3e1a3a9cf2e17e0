"""What the page on compatibility promises to authors of plugins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import drystone.hookspecs
from drystone.plugins import ACTIVE, Plugins

LISTENER = """
from drystone import hookimpl

heard = []

@hookimpl
def drystone_run_started(run):
    heard.append(run)
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Plugins]]:
    """Loads a plugin that listens to runs, as if it were the only one."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "old_listener.py").write_text(LISTENER)
    yield lambda: Plugins([EntryPoint(name="old", value="old_listener", group="drystone")])
    sys.modules.pop("old_listener", None)


@pytest.mark.parametrize(
    "deprecation",
    [
        {"warn_on_impl_args": {"run": DeprecationWarning("`run` goes in 0.3; take `record`.")}},
        {"warn_on_impl": DeprecationWarning("drystone_run_started goes in 0.3; use drystone_run_begun.")},
    ],
    ids=lambda deprecation: next(iter(deprecation)),
)
def test_what_is_deprecated_warns_when_a_plugin_is_loaded_and_works(
    deprecation: dict[str, object], load: Callable[[], Plugins], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in deprecation.items():
        monkeypatch.setitem(drystone.hookspecs.drystone_run_started.drystone_spec, name, value)
    with pytest.warns(DeprecationWarning, match=r"goes in 0\.3"):
        plugins = load()
    assert [plugin.state for plugin in plugins.all] == [ACTIVE]
    assert plugins.emit("drystone_run_started", run="walls-1") == []
    assert sys.modules["old_listener"].heard == ["walls-1"]


def test_a_hook_that_gains_an_argument_breaks_no_plugin(
    load: Callable[[], Plugins], monkeypatch: pytest.MonkeyPatch
) -> None:
    @drystone.hookspecs.hookspec
    def drystone_run_started(run: object, reason: str) -> None:
        """With one argument more."""

    # the specification of a version that is not there yet
    monkeypatch.setattr(drystone.hookspecs, "drystone_run_started", drystone_run_started)
    plugins = load()
    assert [plugin.state for plugin in plugins.all] == [ACTIVE]
    assert plugins.emit("drystone_run_started", run="walls-1", reason="asked") == []
