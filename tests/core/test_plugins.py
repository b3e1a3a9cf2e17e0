"""Plugins are found with who they came from; a broken one is kept and explained."""

import subprocess
import sys
import textwrap
from importlib.metadata import distributions

import pytest

from drystone import hookimpl
from drystone.errors import ComponentNotFoundError, DuplicateComponentError
from drystone.plugins import ACTIVE, BLOCKED, BROKEN, Plugins, load_plugins
from drystone_local import LocalArtifactStore, LocalOrchestrator

ORCHESTRATOR = """
    import attrs
    from drystone import Orchestrator, hookimpl

    @attrs.frozen(kw_only=True)
    class {name}Orchestrator(Orchestrator):
        def executor(self, run):
            raise NotImplementedError

    @hookimpl
    def drystone_components():
        return [{name}Orchestrator]
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a distribution with one plugin, as pip would; returns a function that discovers all of them."""
    monkeypatch.syspath_prepend(tmp_path)

    def installed(name: str, source: str, distribution: str | None = None, entry: str | None = None) -> None:
        distribution = distribution or f"acme-{name}"
        module = distribution.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "RECORD").write_text(f"{module}.py,,\n")
        (info / "entry_points.txt").write_text(f"[drystone]\n{entry or name} = {module}\n")

    yield installed
    for module in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[module]


@pytest.fixture
def discover(tmp_path):
    def found(*disabled: str) -> Plugins:
        entries = [entry for each in distributions(path=[str(tmp_path)]) for entry in each.entry_points]
        return Plugins(entries, disabled)

    return found


def test_a_plugin_is_found_with_its_distribution_and_version(install, discover):
    install("threads", ORCHESTRATOR.format(name="Threads"))
    [plugin] = discover().all
    assert (plugin.name, plugin.distribution, plugin.version) == ("threads", "acme-threads", "1.2")
    assert (plugin.module, plugin.state, plugin.error) == ("acme_threads", ACTIVE, None)


def test_its_components_are_found_by_kind_and_name(install, discover):
    install("threads", ORCHESTRATOR.format(name="Threads"))
    plugins = discover()
    cls = plugins.component("orchestrator", "threads")
    assert cls.__name__ == "ThreadsOrchestrator"
    assert plugins.unique("drystone_components")["orchestrator", "threads"] == (cls, plugins.all[0])
    assert plugins.problems() == []


def test_a_misspelt_component_name_suggests_the_closest_installed_one(install, discover):
    install("threads", ORCHESTRATOR.format(name="Threads"))
    install("slurm", ORCHESTRATOR.format(name="Slurm"))
    with pytest.raises(ComponentNotFoundError) as caught:
        discover().component("orchestrator", "thraeds")
    assert str(caught.value) == (
        "No orchestrator named 'thraeds' is installed. Did you mean 'threads'? Installed: slurm, threads. "
        "`drystone plugins list` shows everything."
    )


def test_an_unknown_kind_names_the_installed_kinds(install, discover):
    install("threads", ORCHESTRATOR.format(name="Threads"))
    with pytest.raises(ComponentNotFoundError) as caught:
        discover().component("orchestrater", "threads")
    assert str(caught.value) == (
        "Nothing installed offers components of kind 'orchestrater'. Did you mean 'orchestrator'? "
        "Installed kinds: artifact_store, orchestrator."
    )


def test_a_plugin_that_cannot_be_imported_is_kept_and_the_others_work(install, discover):
    install("broken", "import no_such_library")
    install("threads", ORCHESTRATOR.format(name="Threads"))
    plugins = discover()
    broken, threads = plugins.all
    assert (broken.state, threads.state) == (BROKEN, ACTIVE)
    assert broken.error.startswith("Traceback")
    assert broken.summary == "ModuleNotFoundError: No module named 'no_such_library'"
    assert plugins.component("orchestrator", "threads")


def test_something_missing_is_explained_by_the_broken_plugin(install, discover):
    install("slurm", "import no_such_library")
    with pytest.raises(ComponentNotFoundError) as caught:
        discover().component("artifact_store", "slurm")
    assert str(caught.value) == (
        "No artifact store named 'slurm' is installed. Installed: fsspec. The plugin 'slurm' of acme-slurm 1.2 is "
        "installed but broken: ModuleNotFoundError: No module named 'no_such_library'. `drystone plugins doctor` shows "
        "all of it. `drystone plugins list` shows everything."
    )


def test_a_plugin_that_exits_while_it_is_imported_is_broken(install, discover):
    install("exits", "raise SystemExit('no licence')")
    [plugin] = discover().all
    assert plugin.summary == "SystemExit: no licence"


def test_a_misspelt_hook_breaks_the_plugin_and_suggests_the_hook(install, discover):
    install("typo", ORCHESTRATOR.format(name="Typo").replace("drystone_components", "drystone_component"))
    [problem] = discover().problems()
    assert problem == (
        "The plugin 'typo' of acme-typo 1.2 is installed but broken: It implements a hook 'drystone_component', which "
        "does not exist. Did you mean 'drystone_components'? Hooks: drystone_artifact_saved, drystone_commands, "
        "drystone_components, drystone_ledgers, drystone_materializers, drystone_model_promoted, "
        "drystone_run_finished, drystone_run_started, drystone_secret_resolvers, drystone_stacks, "
        "drystone_step_finished, drystone_step_progressed, drystone_step_started. `drystone plugins doctor` shows all "
        "of it."
    )


def test_a_misspelt_specname_breaks_the_plugin(install, discover):
    source = "from drystone import hookimpl\n@hookimpl(specname='drystone_stack')\ndef ours(): return []\n"
    install("typo", source)
    assert "'drystone_stack', which does not exist. Did you mean 'drystone_stacks'?" in discover().problems()[0]


def test_an_argument_that_a_hook_does_not_have_breaks_the_plugin(install, discover):
    source = "from drystone import hookimpl\n@hookimpl\ndef drystone_run_started(runn): pass\n"
    install("typo", source)
    [problem] = discover().problems()
    assert "A function does not fit its hook." in problem
    assert "{'runn'}" in problem


def test_a_wrapper_breaks_the_plugin(install, discover):
    source = "from drystone import hookimpl\n@hookimpl(wrapper=True)\ndef drystone_stacks():\n    return (yield)\n"
    install("wraps", source)
    assert "It wraps the hook 'drystone_stacks'. Hooks of Drystone are not wrapped" in discover().problems()[0]


def test_an_unmarked_function_named_like_a_hook_is_no_hook(install, discover):
    install("plain", "def drystone_component(): pass\ndef drystone_stacks(): raise ValueError\n")
    assert discover().problems() == []


def test_an_offer_that_raises_breaks_its_plugin_alone(install, discover):
    source = "from drystone import hookimpl\n@hookimpl\ndef drystone_components():\n    import no_such_library\n"
    install("late", source)
    install("threads", ORCHESTRATOR.format(name="Threads"))
    plugins = discover()
    assert [plugin.state for plugin in plugins.all] == [ACTIVE, ACTIVE]
    assert plugins.component("orchestrator", "threads")
    assert [plugin.state for plugin in plugins.all] == [BROKEN, ACTIVE]
    assert "no_such_library" in plugins.all[0].error


@pytest.mark.parametrize(
    ("hook", "offer", "message"),
    [
        ("drystone_components", "[int]", "returned <class 'int'>. It must return a list of component classes"),
        ("drystone_components", "drystone.Orchestrator", "It must return a list."),
        ("drystone_components", "[drystone.Orchestrator]", "component classes: not abstract, and of a kind"),
        ("drystone_components", "[drystone.StackComponent]", "component classes: not abstract, and of a kind"),
        ("drystone_materializers", "['text']", "It must return a list of materializer classes"),
        ("drystone_stacks", "[drystone.Stack]", "It must return a list of Stack objects"),
        ("drystone_stacks", "None", "drystone_stacks returned None. It must return a list."),
    ],
)
def test_an_offer_of_something_else_breaks_the_plugin(install, discover, hook, offer, message):
    install("odd", f"import drystone\n@drystone.hookimpl\ndef {hook}():\n    return {offer}\n")
    assert message in discover().problems()[0]


def test_two_distributions_that_offer_one_name_are_an_error_naming_both(install, discover):
    install("threads", ORCHESTRATOR.format(name="Threads"))
    install("other", ORCHESTRATOR.format(name="Threads"))
    plugins = discover()
    message = (
        "Both acme-other and acme-threads offer an orchestrator named 'threads'. Uninstall one of them, or block it: "
        "DRYSTONE_PLUGINS_DISABLE=threads."
    )
    with pytest.raises(DuplicateComponentError) as caught:
        plugins.component("orchestrator", "threads")
    assert str(caught.value) == message
    assert plugins.problems() == [message]
    assert discover("other").component("orchestrator", "threads")


def test_two_plugins_of_one_name_are_a_problem_naming_both_distributions(install, discover):
    install("threads", ORCHESTRATOR.format(name="Threads"))
    install("threads", ORCHESTRATOR.format(name="Other"), distribution="acme-twin")
    plugins = discover()
    assert [(plugin.distribution, plugin.state) for plugin in plugins.all] == [
        ("acme-threads", ACTIVE),
        ("acme-twin", BROKEN),
    ]
    assert "'threads' of acme-twin 1.2 is installed but broken: acme-threads has a plugin" in plugins.problems()[0]


def test_a_blocked_plugin_is_not_imported_and_is_named_when_something_is_missing(install, discover):
    install("threads", "raise SystemExit")
    plugins = discover("threads")
    assert [plugin.state for plugin in plugins.all] == [BLOCKED]
    with pytest.raises(ComponentNotFoundError) as caught:
        plugins.component("artifact_store", "threads")
    assert "The plugin 'threads' of acme-threads 1.2 is blocked by DRYSTONE_PLUGINS_DISABLE." in str(caught.value)


def test_blocking_what_is_not_installed_is_a_problem(install, discover):
    install("threads", ORCHESTRATOR.format(name="Threads"))
    assert discover("treads").problems() == [
        "DRYSTONE_PLUGINS_DISABLE names 'treads', but no such plugin is installed. Did you mean 'threads'? "
        "Installed: threads."
    ]


def test_an_event_reaches_every_plugin_and_what_they_raise_comes_back_as_text(install, discover, capsys):
    source = "from drystone import hookimpl\n@hookimpl\ndef drystone_run_started(run): {}\n"
    install("one", source.format("raise ValueError('no network')"))
    install("two", source.format("print('two heard', run)"))
    install("three", "from drystone import hookimpl\n@hookimpl\ndef drystone_run_started(): print('three heard')\n")
    problems = discover().emit("drystone_run_started", run="training-1")
    assert problems == [
        "The hook drystone_run_started of the plugin 'one' of acme-one 1.2 raised ValueError: no network"
    ]
    assert sorted(capsys.readouterr().out.splitlines()) == ["three heard", "two heard training-1"]


def test_an_observer_is_called_inside_its_block_alone(install, discover):
    class Observer:
        def __init__(self):
            self.heard = []

        @hookimpl
        def drystone_run_started(self, run):
            self.heard.append(run)

    plugins, observer = discover(), Observer()
    for run in ("training-1", "training-2"):
        with plugins.observed(observer, "watching"):
            assert plugins.listens("drystone_run_started")
            assert [plugin.label for plugin in plugins.all] == ["'watching' of this process"]
            assert plugins.emit("drystone_run_started", run=run) == []
        plugins.emit("drystone_run_started", run="unheard")
    assert observer.heard == ["training-1", "training-2"]
    assert not plugins.listens("drystone_run_started")
    assert plugins.all == []


def test_an_event_that_ends_the_program_is_reported_as_any_other_error(install, discover):
    install("exits", "from drystone import hookimpl\n@hookimpl\ndef drystone_run_started(run): raise SystemExit(3)\n")
    assert discover().emit("drystone_run_started", run="training-1") == [
        "The hook drystone_run_started of the plugin 'exits' of acme-exits 1.2 raised SystemExit: 3"
    ]


MATERIALIZER = """
    from drystone import Materializer, hookimpl

    class Own(Materializer):
        name = "{name}"
        def save(self, value, writer, artifact): pass
        def load(self, reader): pass

    @hookimpl
    def drystone_materializers():
        return [Own]
"""


def test_materializers_of_one_name_are_a_problem_even_if_one_is_built_in(install, discover):
    install("one", MATERIALIZER.format(name="frames"))
    install("two", MATERIALIZER.format(name="frames"))
    install("core", MATERIALIZER.format(name="text"))
    assert discover("one").problems() == [
        "Both drystone-core and acme-core offer a materializer named 'text'. Uninstall one of them, or block it: "
        "DRYSTONE_PLUGINS_DISABLE=core."
    ]
    assert discover("core").problems() == [
        "Both acme-one and acme-two offer a materializer named 'frames'. Uninstall one of them, or block it: "
        "DRYSTONE_PLUGINS_DISABLE=two."
    ]


def test_components_and_stacks_of_one_name_are_both_told(install, discover):
    stacks = """
    from drystone import FsspecArtifactStore, Stack
    from drystone_local import LocalOrchestrator

    @hookimpl
    def drystone_stacks():
        return [Stack("team", orchestrator=LocalOrchestrator(), artifact_store=FsspecArtifactStore(url="{name}://"))]
"""
    for name in ("one", "two"):
        install(name, ORCHESTRATOR.format(name="Threads") + stacks.format(name=name))
    found = [problem.partition(". ")[0] for problem in discover().problems()]
    assert found == [
        "Both acme-one and acme-two offer an orchestrator named 'threads'",
        "Both acme-one and acme-two offer a stack named 'team'",
    ]


def test_the_installed_plugins_are_loaded_once():
    plugins = load_plugins()
    assert plugins is load_plugins()
    assert plugins.component("orchestrator", "local") is LocalOrchestrator
    assert plugins.component("artifact_store", "local") is LocalArtifactStore
    assert [stack.name for stack, _ in plugins.offered("drystone_stacks")] == ["default"]


def test_the_environment_blocks_plugins(monkeypatch):
    monkeypatch.setenv("DRYSTONE_PLUGINS_DISABLE", " local, ")
    plugins = load_plugins.__wrapped__()
    assert {plugin.name: plugin.state for plugin in plugins.all}["local"] == BLOCKED
    assert plugins.offered("drystone_stacks") == []


def test_discovery_imports_no_library_of_a_plugin():
    probe = (
        "import sys; from drystone import load_plugins; load_plugins().problems(); "
        "print(sorted({'numpy','pandas','polars','pyarrow','sklearn','skops','matplotlib','fsspec'}"
        " & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
