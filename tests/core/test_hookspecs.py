"""Every hook is documented, and every example in its documentation runs."""

import datetime
import inspect
import textwrap
import types
from pathlib import Path

import pluggy
import pytest
from click.testing import CliRunner

import drystone.hookspecs
from drystone import (
    ArtifactStore,
    ArtifactVersion,
    Materializer,
    Orchestrator,
    Run,
    Stack,
    StepRun,
    Workspace,
    load_plugins,
)
from drystone.artifacts import Blob, Manifest
from drystone.hookspecs import EVENTS, HOOKS, OFFERS
from drystone.models import StageMove

ROOT = Path(__file__).parents[2]

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
RUN = Run(
    name="training-1",
    number=1,
    pipeline="training",
    status="failed",
    stack="dev",
    started_at=NOW,
    error="ValueError: x",
)
STEP = StepRun(name="train", run="training-2", status="cached", cached_from="training-1", attempts=1)

MAP = StepRun(name="squares", run="training-2", status="running", counts={"succeeded": 2, "failed": 1, "pending": 2})
MANIFEST = Manifest(
    digest="d",
    type="builtins.list",
    materializer="json",
    materializer_version=1,
    blobs=(Blob("value.json", "b", 5),),
    store="s",
)
VERSION = ArtifactVersion(name="heights", version=3, kind="data", manifest=MANIFEST, created_at=NOW)
MOVE = StageMove(
    model="walls",
    stage="production",
    number=4,
    previous=2,
    at=NOW,
    author="ada@example.org",
    action="promote",
)


@pytest.fixture
def caller() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("drystone")
    manager.add_hookspecs(drystone.hookspecs)
    return manager


def example(hook: str) -> types.ModuleType:
    text = inspect.getdoc(getattr(drystone.hookspecs, hook))
    module = types.ModuleType(f"example_of_{hook}")
    exec(textwrap.dedent(text.partition("Example::\n")[2]), vars(module))
    return module


def test_the_list_of_hooks_is_complete():
    marked = [name for name, value in vars(drystone.hookspecs).items() if hasattr(value, "drystone_spec")]
    assert marked == list(HOOKS) == [*OFFERS, *EVENTS]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_says_what_when_and_how(hook):
    text = inspect.getdoc(getattr(drystone.hookspecs, hook))
    first, _, second, *_ = text.splitlines()
    assert first.endswith(".")
    assert second.startswith("Called ")
    assert "driver" in text
    assert ("Returns:" in text) == (hook in OFFERS)
    assert "Example::" in text


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_named_after_drystone_and_typed(hook):
    function = getattr(drystone.hookspecs, hook)
    assert hook.startswith("drystone_")
    assert "return" in inspect.get_annotations(function)


def test_the_example_of_components_offers_an_orchestrator(caller):
    caller.register(example("drystone_components"))
    [[cls]] = caller.hook.drystone_components()
    assert issubclass(cls, Orchestrator)
    assert cls.name == "threaded"
    with cls(workers=2).executor(None) as executor:
        assert executor.submit(sum, [1, 2]).result() == 3


def test_the_example_of_materializers_offers_one(caller):
    caller.register(example("drystone_materializers"))
    [[cls]] = caller.hook.drystone_materializers()
    assert issubclass(cls, Materializer)
    assert cls().types == ("fractions.Fraction",)


def test_the_example_of_stacks_offers_one(caller):
    caller.register(example("drystone_stacks"))
    [[stack]] = caller.hook.drystone_stacks()
    assert isinstance(stack, Stack)
    assert isinstance(stack.artifact_store, ArtifactStore)


def test_the_example_of_commands_offers_one(caller):
    caller.register(example("drystone_commands"))
    [[command]] = caller.hook.drystone_commands()
    assert command.name == "greet"
    assert CliRunner().invoke(command, ["Ada"]).output == "Hello Ada.\n"


def test_the_example_of_secret_resolvers_offers_a_scheme(caller):
    caller.register(example("drystone_secret_resolvers"))
    [schemes] = caller.hook.drystone_secret_resolvers()
    assert [*schemes] == ["run"]
    with pytest.raises(OSError, match="No such file"):
        schemes["run"]("nobody/has/this")


def test_the_example_of_ledgers_opens_a_workspace(project, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "cache"))
    plugins = load_plugins()
    plugins._offers.pop("drystone_ledgers", None)
    with plugins.observed(example("drystone_ledgers"), "scratch"):
        shared = Workspace("scratch://wall")
        shared.save_artifact([1, 2], "heights")
        assert Workspace("scratch://wall").artifact("heights").load() == [1, 2]
    plugins._offers.pop("drystone_ledgers", None)


SOURCES = [*ROOT.glob("plugins/*/src/**/*.py"), *ROOT.glob("contrib/*/src/**/*.py")]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_real_plugin_uses_every_hook(hook):
    users = [path for path in SOURCES if f"def {hook}(" in path.read_text()]
    assert users, f"no plugin of this repository implements {hook}"


@pytest.mark.parametrize(
    ("hook", "record", "said"),
    [
        ("drystone_run_started", {"run": RUN}, "training-1 started on dev"),
        ("drystone_run_finished", {"run": RUN}, "training-1 failed: ValueError: x"),
        ("drystone_step_started", {"step_run": STEP}, "training-2: train, attempt 1"),
        ("drystone_step_progressed", {"step_run": MAP}, "squares: 3 of 5"),
        ("drystone_step_finished", {"step_run": STEP}, "train: taken from training-1"),
        ("drystone_artifact_saved", {"artifact_version": VERSION}, "heights@3: 5 bytes of builtins.list"),
        ("drystone_model_promoted", {"stage_move": MOVE}, "walls 4 is production now, says ada@example.org"),
    ],
)
def test_the_examples_of_events_hear_them(caller, capsys, hook, record, said):
    caller.register(example(hook))
    getattr(caller.hook, hook)(**record)
    assert capsys.readouterr().out == f"{said}\n"
