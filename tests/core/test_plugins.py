"""Plugins are found with who they came from; a broken one is kept and explained."""

import os
import pickle
import re
import subprocess
import sys
import textwrap
from importlib.metadata import distributions, version
from pathlib import Path

import pytest

from drystone import FsspecArtifactStore, Secret, StepRun, find_stacks, hookimpl, oneoffs
from drystone.catalogs import install as install_sentence
from drystone.catalogs import providing
from drystone.errors import ArtifactStoreError, ComponentNotFoundError, DuplicateComponentError, StackError
from drystone.installations import ACTIVE, BLOCKED, BROKEN, CONFLICTING, INCOMPATIBLE
from drystone.plugins import Plugins, load_plugins
from drystone.traces import traced
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
        ("acme-threads", CONFLICTING),
        ("acme-twin", CONFLICTING),
    ]
    assert plugins.problems() == [
        "The name of the plugin 'threads' is claimed by both acme-threads 1.2 and acme-twin 1.2, so none of them is "
        "loaded. Uninstall one: pip uninstall acme-threads or pip uninstall acme-twin."
    ]
    assert not {"acme_threads", "acme_twin"} & set(sys.modules)
    assert [plugin.state for plugin in discover("threads").all] == [BLOCKED, BLOCKED]


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


# --- states -----------------------------------------------------------------------------------------------------------


def test_a_plugin_for_another_core_is_incompatible_and_not_imported(install, discover, tmp_path):
    install("future", "raise SystemExit('imported')")
    metadata = tmp_path / "acme_future-1.2.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text() + "Requires-Dist: Drystone_Core >=7,<8\nRequires-Dist: drystone-core-x\n")
    plugins = discover()
    [plugin] = plugins.all
    assert plugin.state == INCOMPATIBLE
    assert plugins.problems() == [
        "The plugin 'future' of acme-future 1.2 is incompatible: it requires drystone-core<8,>=7, and "
        f"{version('drystone-core')} is installed. Install a version that fits: pip install --upgrade acme-future "
        "drystone-core."
    ]
    assert plugins.problems()[0] in plugins.absent()


@pytest.mark.parametrize(
    "requirement",
    [
        "drystone-core",
        "drystone-core>=0.1.dev0,<99",
        'drystone-core>=7; python_version < "3"',
        "drystone-core-extra>=7",
    ],
)
def test_a_plugin_for_this_core_is_active(install, discover, tmp_path, requirement):
    install("fits", ORCHESTRATOR.format(name="Fits"))
    metadata = tmp_path / "acme_fits-1.2.dist-info" / "METADATA"
    metadata.write_text(f"{metadata.read_text()}Requires-Dist: {requirement}\n")
    assert [plugin.state for plugin in discover().all] == [ACTIVE]


def test_a_range_that_cannot_be_read_makes_a_plugin_incompatible(install, discover, tmp_path):
    install("odd", ORCHESTRATOR.format(name="Odd"))
    metadata = tmp_path / "acme_odd-1.2.dist-info" / "METADATA"
    metadata.write_text(f"{metadata.read_text()}Requires-Dist: drystone-core >=> 1\n")
    assert "what it says of drystone-core cannot be read" in discover().problems()[0]


def test_a_plugin_without_metadata_takes_nobody_down(install, discover, tmp_path):
    install("lost", ORCHESTRATOR.format(name="Lost"))
    install("threads", ORCHESTRATOR.format(name="Threads"))
    (tmp_path / "acme_lost-1.2.dist-info" / "METADATA").unlink()
    assert discover().component("orchestrator", "threads")


def test_examined_plugins_that_offer_one_name_are_both_conflicting(install, discover):
    install("one", ORCHESTRATOR.format(name="Threads"))
    install("two", ORCHESTRATOR.format(name="Threads"))
    install("three", ORCHESTRATOR.format(name="Three"))
    plugins = discover()
    assert {plugin.name: plugin.state for plugin in plugins.examined()} == {
        "one": CONFLICTING,
        "two": CONFLICTING,
        "three": ACTIVE,
    }
    assert plugins.examined()[0].summary.startswith("Both acme-one and acme-two offer an orchestrator named 'threads'.")
    assert plugins.component("orchestrator", "three"), "a conflict about one name leaves the others alone"


def test_a_star_blocks_every_installed_plugin(install, discover):
    install("one", "raise SystemExit")
    install("two", "raise SystemExit")
    assert [plugin.state for plugin in discover("*").all] == [BLOCKED, BLOCKED]
    assert discover("*").problems() == []


def test_what_a_plugin_offers_is_told_by_name(install, discover):
    event = "\n@hookimpl\ndef drystone_run_started(run): pass\n"
    install("threads", textwrap.dedent(ORCHESTRATOR.format(name="Threads")) + event)
    plugins = discover()
    offers = plugins.offers(plugins.all[0])
    assert {what: names for what, names in offers.items() if names} == {
        "components": ["orchestrator:threads"],
        "events": ["run_started"],
    }
    assert list(offers) == [
        *("components", "materializers", "stacks", "commands", "secret_resolvers", "ledgers", "events")
    ]


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def plugin_file(tmp_path, monkeypatch):
    """Writes a plugin that is a file, and names it in the environment."""

    def write(source: str, name: str = "one-off.py") -> Path:
        file = tmp_path / name
        file.write_text(textwrap.dedent(source))
        before = os.environ.get("DRYSTONE_PLUGINS")
        monkeypatch.setenv("DRYSTONE_PLUGINS", os.pathsep.join(filter(None, [before, str(file)])))
        return file

    yield write
    for module in [name for name in sys.modules if name.startswith("drystone_plugin_")]:
        del sys.modules[module]


def test_a_file_is_a_plugin_whose_classes_other_processes_find(plugin_file):
    file = plugin_file(ORCHESTRATOR.format(name="Threads"))
    plugins = Plugins([], ["*"], oneoffs.files())
    [plugin] = plugins.all
    assert (plugin.name, plugin.distribution, plugin.state) == ("one-off.py", str(file), ACTIVE)
    cls = plugins.component("orchestrator", "threads")
    assert cls.__module__.startswith("drystone_plugin_one_off_")
    probe = "import pickle, sys; import drystone.workers; print(pickle.loads(bytes.fromhex(sys.argv[1])))"
    command = [sys.executable, "-c", probe, pickle.dumps(cls()).hex()]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == "ThreadsOrchestrator()\n"


def test_a_file_named_twice_is_one_plugin(plugin_file):
    plugin_file(ORCHESTRATOR.format(name="Threads"))
    plugin_file(ORCHESTRATOR.format(name="Threads"))
    assert len(oneoffs.files()) == 1


def test_files_of_one_name_in_two_folders_are_two_plugins(plugin_file, tmp_path):
    (tmp_path / "sub").mkdir()
    plugin_file(ORCHESTRATOR.format(name="Threads"))
    plugin_file(ORCHESTRATOR.format(name="Other"), "sub/one-off.py")
    plugins = Plugins([], [], oneoffs.files())
    assert [plugin.state for plugin in plugins.all] == [ACTIVE, ACTIVE]
    assert plugins.component("orchestrator", "other")


def test_a_file_that_is_missing_or_broken_is_a_broken_plugin(plugin_file):
    plugin_file("").unlink()
    plugin_file("1 / 0", "bad.py")
    missing, bad = Plugins([], [], oneoffs.files()).all
    assert (missing.state, bad.state) == (BROKEN, BROKEN)
    assert missing.summary.endswith("one-off.py is not there. Correct --plugin or DRYSTONE_PLUGINS")
    assert bad.summary == "ZeroDivisionError: division by zero"


def test_a_file_can_be_blocked_by_its_name(plugin_file):
    plugin_file("raise SystemExit")
    assert [plugin.state for plugin in Plugins([], ["one-off.py"], oneoffs.files()).all] == [BLOCKED]


# --- what to install --------------------------------------------------------------------------------------------------


def test_a_component_of_an_official_plugin_says_what_to_install(discover):
    with pytest.raises(ComponentNotFoundError, match=r"Install it: pip install drystone-scheduler\."):
        discover().component("scheduler", "apscheduler")


@pytest.mark.parametrize(
    ("wanted", "distribution"),
    [
        ({"component": "scheduler:apscheduler"}, "drystone-scheduler"),
        ({"component": "orchestrator:local"}, ""),  # it is installed
        ({"component": "orchestrator:slurm"}, ""),
        ({"component": "container_registry:oci"}, ""),  # it is installed
        ({"scheme": "s3"}, ""),  # so is this
        ({"scheme": "ftp"}, ""),
        ({"secret": "vault"}, ""),
        ({"type_name": "fractions.Fraction"}, ""),
    ],
)
def test_what_to_install_is_known_of_what_is_official_and_missing(wanted, distribution):
    assert providing(**wanted) == (f" Install it: pip install {distribution}." if distribution else "")


def test_a_type_of_a_data_library_says_what_to_install(monkeypatch):
    monkeypatch.setattr("drystone.catalogs.version_of", lambda name: None)
    assert providing(type_name="pandas.DataFrame") == " Install it: pip install drystone-data."


def test_what_came_from_a_file_comes_from_it_again():
    assert install_sentence("/x/demo.py") == "It comes from a file: drystone --plugin /x/demo.py."


def test_a_store_on_an_unknown_filesystem_says_what_to_install(monkeypatch):
    monkeypatch.setattr("drystone.catalogs.version_of", lambda name: None)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ArtifactStoreError) as caught:
        FsspecArtifactStore(url="s3://bucket").read_range("a/b", 0, None)
    assert str(caught.value).endswith("Install it: pip install drystone-s3.")


# --- required plugins -------------------------------------------------------------------------------------------------


def test_every_plugin_that_a_project_requires_and_that_is_not_ready_is_told_at_once(
    install, discover, tmp_path, monkeypatch
):
    install("old", ORCHESTRATOR.format(name="Old"))
    install("broken", "import no_such_library")
    install("blocked", ORCHESTRATOR.format(name="Blocked"))
    install("fine", ORCHESTRATOR.format(name="Fine"))
    wanted = [
        "acme-absent[x]>=2",
        "ACME_old>=2",
        "acme-broken",
        "acme.blocked",
        "acme-fine",
        "no thing",
        "a; sys_platform=='x'",
    ]
    (tmp_path / "pyproject.toml").write_text(f"[tool.drystone]\nrequired_plugins = {wanted!r}\n")
    plugins = discover("blocked")
    with pytest.raises(StackError) as caught:
        find_stacks(tmp_path, plugins)
    first, *problems, last = str(caught.value).splitlines()
    assert first == f"{tmp_path / 'pyproject.toml'} requires plugins. 5 problems:"
    assert problems[:2] == ["  - acme-absent is not installed.", "  - ACME_old 1.2 is installed, but >=2 is required."]
    assert problems[2].startswith("  - The plugin 'broken' of acme-broken 1.2 is installed but broken: ModuleNotFound")
    assert problems[3] == "  - The plugin 'blocked' of acme-blocked 1.2 is blocked by DRYSTONE_PLUGINS_DISABLE."
    assert problems[4].startswith("  - 'no thing' is no requirement: ")
    assert last == "Install what is missing: pip install 'acme-absent[x]>=2' 'ACME_old>=2'"
    monkeypatch.chdir(tmp_path)
    assert plugins.strays() == [str(caught.value)]
    assert str(caught.value) not in plugins.problems(), "finding stacks tells it"


def test_a_project_whose_required_plugins_are_ready_finds_its_stacks(install, discover, tmp_path):
    install("fine", ORCHESTRATOR.format(name="Fine"))
    (tmp_path / "pyproject.toml").write_text('[tool.drystone]\nrequired_plugins = ["acme-fine>=1"]\n')
    assert find_stacks(tmp_path, discover()).names == []


def test_required_plugins_that_are_no_list_are_named(discover, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.drystone]\nrequired_plugins = "drystone-s3"\n')
    with pytest.raises(StackError, match=r"required_plugins is 'drystone-s3'. It lists requirements: "):
        find_stacks(tmp_path, discover())


# --- traces -----------------------------------------------------------------------------------------------------------


def test_a_trace_tells_every_call_without_what_is_secret(install, discover, monkeypatch, capsys):
    source = """
    @hookimpl
    def drystone_run_started(run):
        raise ValueError("no network")

    @hookimpl
    def drystone_secret_resolvers():
        return {"vault": lambda name: "hunter2"}
    """
    install("threads", textwrap.dedent(ORCHESTRATOR.format(name="Threads")) + textwrap.dedent(source))
    monkeypatch.setenv("DRYSTONE_TRACE", "1")
    plugins = discover()
    plugins.unique("drystone_components")
    plugins.unique("drystone_secret_resolvers")
    plugins.emit("drystone_run_started", run=Secret("env:KEY"))
    lines = [re.sub(r"[\d.]+ ms", "N ms", line) for line in capsys.readouterr().err.splitlines()]
    plugin = "trace: 'threads' of acme-threads 1.2"
    assert lines == [
        f"{plugin}: drystone_components() → [ThreadsOrchestrator], N ms",
        f"{plugin}: drystone_secret_resolvers() → {{vault}}, N ms",
        f"{plugin}: drystone_run_started(run=Secret(reference='env:KEY')) → raised ValueError: no network, N ms",
    ]


@pytest.mark.parametrize("value", [None, "", "0"])
def test_without_the_variable_nothing_is_traced(install, discover, monkeypatch, capsys, value):
    install("threads", ORCHESTRATOR.format(name="Threads"))
    monkeypatch.delenv("DRYSTONE_TRACE", raising=False)
    if value is not None:
        monkeypatch.setenv("DRYSTONE_TRACE", value)
    discover().unique("drystone_components")
    assert capsys.readouterr().err == ""


def test_a_trace_names_records_and_counts_long_lists(monkeypatch, capsys):
    monkeypatch.setenv("DRYSTONE_TRACE", "1")
    step = StepRun(name="train", run="training-2", status="running", attempts=1)

    class Odd:
        @property
        def name(self):
            raise RuntimeError("no name")

    traced("drystone_step_started", "x", lambda step_run: [int] * 20, {"step_run": step})
    traced("drystone_commands", "x", Odd, {})
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("trace: x: drystone_step_started(step_run=StepRun(training-2 train)) → [int, int, int,")
    assert "int, …], " in first
    assert second.startswith("trace: x: drystone_commands() → Odd(), ")
