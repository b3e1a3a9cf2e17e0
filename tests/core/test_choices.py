"""Stacks are checked when they are written, found where the project says, and chosen in a fixed order."""

import copy
import json
import pickle
import sys
from importlib.metadata import version
from types import SimpleNamespace

import attrs
import pytest

from drystone import ContainerRegistry, FsspecArtifactStore, Place, Secret, Stack, StackComponent, find_stacks
from drystone.errors import DuplicateComponentError, PluginLoadError, StackError, StackNotFoundError, WorkspaceError
from drystone.plugins import Plugin, Plugins
from drystone_local import LocalArtifactStore, LocalOrchestrator

HEADER = """\
from drystone import Stack
from drystone_local import LocalArtifactStore, LocalOrchestrator

def stack(name, path=None):
    return Stack(name, orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore(path))
"""


@attrs.frozen(kw_only=True)
class Registry(ContainerRegistry):
    uri: str = "localhost:5000/team"
    password: Secret | None = None
    token: str = attrs.field(default="plain", repr=False)
    headers: dict[str, object] = attrs.field(factory=dict, repr=False)
    _cache: dict[str, object] = attrs.field(factory=dict, init=False)

    def push(self, image, name, *, engine=None):
        return self.reference(name)

    def pull(self, name, *, engine=None):
        return name

    def digest(self, name):
        return None

    def labels(self, name):
        return None


def stack(name="dev", **components):
    return Stack(name, **{"orchestrator": LocalOrchestrator(), "artifact_store": LocalArtifactStore(), **components})


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("DRYSTONE_WORKSPACE", "DRYSTONE_STACK"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def define(project, *lines):
    (project / "stacks.py").write_text("\n".join([HEADER, *lines]))


# --- the object -------------------------------------------------------------------------------------------------------


def test_a_stack_has_its_components_as_attributes():
    registry = Registry()
    dev = stack(container_registry=registry)
    assert dev.name == "dev"
    assert dev.orchestrator == LocalOrchestrator()
    assert dev.artifact_store == LocalArtifactStore()
    assert dev.container_registry is registry
    assert list(dev.components) == ["orchestrator", "artifact_store", "container_registry"]


def test_a_kind_that_a_stack_has_not_is_an_attribute_error_that_names_those_it_has():
    with pytest.raises(AttributeError) as caught:
        stack(container_registry=Registry()).container_registri
    assert str(caught.value) == (
        "Stack 'dev' has no 'container_registri'. Did you mean 'container_registry'? Its components: artifact_store, "
        "container_registry, orchestrator."
    )
    assert not hasattr(stack(), "container_registry")


def test_a_stack_cannot_be_changed():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        stack().name = "other"
    with pytest.raises(TypeError):
        stack().components["orchestrator"] = LocalOrchestrator()


def test_stacks_of_equal_components_are_equal():
    assert stack() == stack()
    assert hash(stack()) == hash(stack())
    assert stack() != stack("other")
    assert stack() != stack(artifact_store=LocalArtifactStore("/elsewhere"))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_stack_survives_copying(duplicate):
    assert duplicate(stack()) == stack()


def test_evolving_takes_over_what_is_not_replaced():
    production = stack().evolve("production", artifact_store=LocalArtifactStore("/p"), container_registry=Registry())
    assert production.name == "production"
    assert production.orchestrator == LocalOrchestrator()
    assert production.artifact_store == LocalArtifactStore("/p")
    assert production.container_registry == Registry()


def test_at_a_place_every_component_is_bound(tmp_path):
    place = Place(root=tmp_path, workspace=tmp_path / ".drystone")
    assert stack().at(place).artifact_store.path == str(tmp_path / ".drystone/artifacts")


def test_all_that_is_wrong_with_a_stack_is_reported_at_once():
    with pytest.raises(StackError) as caught:
        Stack("my stack", orchestrator=LocalOrchestrator, registry=Registry(), disk="/data")
    assert str(caught.value).splitlines() == [
        "5 problems:",
        "  - Stack 'my stack': A stack's name starts with a letter or digit and goes on with letters, digits, '.', '_' "
        "and '-'.",
        "  - Stack 'my stack': It has no artifact_store. Every stack needs one: artifact_store=…",
        "  - Stack 'my stack': orchestrator is the class LocalOrchestrator. Write LocalOrchestrator(…).",
        f"  - Stack 'my stack': registry is {Registry()!r}, but its kind is 'container_registry'. Write "
        "container_registry=…",
        "  - Stack 'my stack': disk is '/data', which is no stack component.",
    ]


def test_a_component_of_another_kind_is_refused():
    with pytest.raises(StackError) as caught:
        stack(artifact_store=LocalOrchestrator())
    assert str(caught.value) == (
        "Stack 'dev': artifact_store is LocalOrchestrator(workers=None, isolation='auto'), but its kind is "
        "'orchestrator'. Write orchestrator=…"
    )


def test_a_component_whose_class_has_no_kind_is_refused():
    class Tracker(StackComponent):
        pass

    with pytest.raises(StackError) as caught:
        stack(tracker=Tracker())
    assert str(caught.value) == (
        "Stack 'dev': tracker is Tracker(), whose class says no kind. Write kind = \"tracker\" in it."
    )


@pytest.mark.parametrize("name", ["", "-dev", "a b", "a/b", "../a", "a\n", None, 3])
def test_a_name_that_is_no_name_is_refused(name):
    with pytest.raises(StackError, match="A stack's name starts with a letter or digit"):
        stack(name)


def test_a_description_is_json_and_shows_secrets_as_references():
    registry = Registry(password=Secret("env:PASSWORD"), headers={"auth": Secret("env:AUTH"), "accept": "x"})
    described = stack(container_registry=registry).describe()
    assert json.loads(json.dumps(described)) == described
    assert described["name"] == "dev"
    assert described["components"]["artifact_store"] == {
        "class": "drystone_local.artifact_store.LocalArtifactStore",
        "name": "local",
        "distribution": "drystone-local",
        "version": version("drystone-local"),
        "settings": {"path": None},
    }
    assert described["components"]["container_registry"]["settings"] == {
        "uri": "localhost:5000/team",
        "password": "env:PASSWORD",
        "token": "…",
        "headers": {"auth": "env:AUTH", "accept": "…"},
    }


# --- orchestrators of steps -------------------------------------------------------------------------------------------


def bigger(**others):
    return stack(step_orchestrators={"big": LocalOrchestrator(workers=2), **others})


def test_a_stack_has_orchestrators_for_single_steps_by_name():
    assert bigger().step_orchestrators == {"big": LocalOrchestrator(workers=2)}
    assert stack().step_orchestrators == {}
    assert list(bigger().components) == ["orchestrator", "artifact_store"]
    assert list(bigger().parts) == ["orchestrator", "artifact_store", "step_orchestrators.big"]
    with pytest.raises(TypeError):
        bigger().step_orchestrators["big"] = LocalOrchestrator()


def test_the_orchestrator_of_steps_is_found_by_its_name():
    assert bigger().orchestrator_of(None) == LocalOrchestrator()
    assert bigger().orchestrator_of("big") == LocalOrchestrator(workers=2)
    with pytest.raises(StackError) as caught:
        bigger().orchestrator_of("bigg")
    assert str(caught.value) == (
        "Stack 'dev' has no orchestrator 'bigg' for steps. Did you mean 'big'? Its step_orchestrators: big."
    )


def test_all_that_is_wrong_with_orchestrators_of_steps_is_reported_with_the_rest():
    with pytest.raises(StackError) as caught:
        stack("a b", step_orchestrators={"so big": LocalOrchestrator, "store": LocalArtifactStore(), 3: None})
    assert [line.removeprefix("  - Stack 'a b': ") for line in str(caught.value).splitlines()] == [
        "6 problems:",
        "A stack's name starts with a letter or digit and goes on with letters, digits, '.', '_' and '-'.",
        "step_orchestrators has the name 'so big'. It starts with a letter or digit and goes on with letters, digits, "
        "'.', '_' and '-'.",
        "step_orchestrators['so big'] is the class LocalOrchestrator. Write LocalOrchestrator(…).",
        f"step_orchestrators['store'] is {LocalArtifactStore()!r}, which is no orchestrator.",
        "step_orchestrators has the name 3. It starts with a letter or digit and goes on with letters, digits, '.', "
        "'_' and '-'.",
        "step_orchestrators[3] is None, which is no orchestrator.",
    ]
    with pytest.raises(StackError, match=r"step_orchestrators is Local.* It has orchestrators by name"):
        stack(step_orchestrators=LocalOrchestrator())


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_orchestrators_of_steps_survive_copying_and_count_where_stacks_are_compared(duplicate):
    assert duplicate(bigger()) == bigger()
    assert hash(duplicate(bigger())) == hash(bigger())
    assert bigger() != stack()
    assert repr(bigger()).endswith(", step_orchestrators={'big': LocalOrchestrator(workers=2, isolation='auto')})")
    assert "step_orchestrators" not in repr(stack())


def test_evolving_keeps_replaces_or_empties_the_orchestrators_of_steps():
    assert bigger().evolve("other").step_orchestrators == bigger().step_orchestrators
    assert list(bigger().evolve("other", step_orchestrators={"huge": LocalOrchestrator()}).step_orchestrators) == [
        "huge"
    ]
    assert bigger().evolve("other", step_orchestrators=None).step_orchestrators == {}


@attrs.frozen(kw_only=True)
class Knowing(LocalOrchestrator):
    """Keeps what it is told of its stack."""

    seen: dict[str, object] = attrs.field(factory=dict)
    root: object = None

    def at(self, place):
        return attrs.evolve(self, root=place.root)

    def within(self, components):
        return attrs.evolve(self, seen=dict(components))


def test_at_a_place_every_orchestrator_is_bound_and_knows_the_bound_components(tmp_path):
    place = Place(root=tmp_path, workspace=tmp_path / ".drystone")
    bound = stack(orchestrator=Knowing(), step_orchestrators={"big": Knowing(workers=2)}).at(place)
    for each in (bound.orchestrator, bound.step_orchestrators["big"]):
        assert each.root == tmp_path
        assert each.seen["artifact_store"] == bound.artifact_store
        assert each.seen["orchestrator"].root == tmp_path
    assert bound.step_orchestrators["big"].workers == 2


def test_a_description_has_the_orchestrators_of_steps_apart():
    described = bigger().describe()
    assert json.loads(json.dumps(described)) == described
    assert list(described["components"]) == ["orchestrator", "artifact_store"]
    assert described["step_orchestrators"]["big"]["settings"] == {"workers": 2, "isolation": "auto"}
    assert stack().describe()["step_orchestrators"] == {}


# --- finding ----------------------------------------------------------------------------------------------------------


def test_a_project_without_stacks_has_the_built_in_one(project):
    stacks = find_stacks(project)
    assert stacks.names == ["default"]
    assert stacks.active() == stack("default")
    assert stacks.source("default") == "drystone-local"
    assert stacks.workspace is None


def test_stacks_are_the_stacks_that_the_file_defines_under_their_own_names(project):
    define(project, "first = stack('dev')", "same = first", "others = [stack('hidden')]", "workspace = 'shared'")
    stacks = find_stacks()
    assert stacks.names == ["default", "dev"]
    assert stacks.get("dev") == stack()
    assert stacks.source("dev") == str(project / "stacks.py")
    assert stacks.workspace == "shared"


def test_a_stack_of_the_project_goes_before_that_of_a_plugin(project):
    define(project, "ours = stack('default', '/ours')")
    assert find_stacks(project).get("default").artifact_store.path == "/ours"
    assert find_stacks(project).source("default") == str(project / "stacks.py")


def test_pyproject_names_another_module(project):
    (project / "pyproject.toml").write_text('[tool.drystone]\nstacks = "our_stacks_in_pyproject"\n')
    (project / "our_stacks_in_pyproject.py").write_text(f"{HEADER}\ndev = stack('dev')\ndefault = dev\n")
    stacks = find_stacks(project)
    assert stacks.active().name == "dev"
    assert stacks.source("dev") == str(project / "our_stacks_in_pyproject.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.drystone]\nstacks = 3", '[tool.drystone] stacks is 3. It names a module: stacks = "our_stacks".'),
        ("[tool.drystone", "cannot be read: Expected ']'"),
        ("[tool]\ndrystone = 3", "cannot be read:"),
        (
            '[tool.drystone]\nstacks = "no_such_stacks"',
            "says stacks = 'no_such_stacks', but there is no module 'no_such_stacks', neither installed nor in",
        ),
    ],
)
def test_a_pyproject_that_says_nonsense_is_named(project, text, message):
    (project / "pyproject.toml").write_text(text)
    with pytest.raises(StackError) as caught:
        find_stacks(project)
    assert message in str(caught.value)
    assert str(project / "pyproject.toml") in str(caught.value)


def test_an_error_in_the_file_names_place_and_cause(project):
    define(project, "dev = stack('dev')", "1 / 0")
    with pytest.raises(StackError) as caught:
        find_stacks(project)
    line = len(HEADER.splitlines()) + 3
    assert str(caught.value) == (
        f"The stacks of this project cannot be loaded: {project}/stacks.py, line {line}: ZeroDivisionError: division "
        "by zero. Correct it; until then this project has no stacks."
    )
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_error_below_the_file_names_the_line_of_the_file(project):
    define(project, "dev = Stack('two words')")
    with pytest.raises(
        StackError, match=r"stacks\.py, line 7: StackError: 3 problems:\n  - Stack 'two words': A stack's name"
    ):
        find_stacks(project)


def test_a_syntax_error_in_the_file_names_its_line(project):
    define(project, "dev = stack(")
    with pytest.raises(StackError, match=r"stacks\.py, line 7: SyntaxError: '\(' was never closed\. Correct it"):
        find_stacks(project)


def test_a_plugin_that_is_not_installed_is_named_with_what_installs_it(project):
    define(project, "from drystone_no_such_cloud.stores import Store")
    with pytest.raises(StackError, match=r"Install the plugin: pip install drystone-no-such-cloud\."):
        find_stacks(project)


def test_a_module_that_an_installed_plugin_does_not_have_is_no_reason_to_install_it(project):
    define(project, "from drystone_local.stores import Store")
    with pytest.raises(StackError, match=r"No module named 'drystone_local\.stores'\. Correct it; until then"):
        find_stacks(project)


def test_a_misspelt_setting_is_an_error_that_names_the_settings(project):
    define(project, "dev = Stack('dev', orchestrator=LocalOrchestrator(isolatoin='inline'))")
    with pytest.raises(StackError) as caught:
        find_stacks(project)
    assert str(caught.value) == (
        f"The stacks of this project cannot be loaded: {project}/stacks.py, line 7: StackError: LocalOrchestrator has "
        "no setting 'isolatoin'. Did you mean 'isolation'? Its settings: isolation, workers. Correct it; until then "
        "this project has no stacks."
    )


def test_a_file_that_exits_is_an_error(project):
    define(project, "raise SystemExit(3)")
    with pytest.raises(StackError, match=r"SystemExit: 3\."):
        find_stacks(project)


def test_two_different_stacks_of_one_name_are_an_error_naming_both(project):
    define(project, "first = stack('dev')", "second = stack('dev', '/other')")
    with pytest.raises(StackError) as caught:
        find_stacks(project)
    assert str(caught.value) == (
        f"{project}/stacks.py calls two different stacks 'dev': the variables first and second. Give one of them "
        'another name, as Stack("second", …).'
    )


def test_a_default_that_is_no_stack_is_an_error(project):
    define(project, "default = 3")
    with pytest.raises(StackError, match=r"stacks\.py: default is 3\. It must be one of the stacks: default = dev\."):
        find_stacks(project)


def test_loading_leaves_no_trace_but_what_the_file_imports(project):
    (project / "settings_of_stacks.py").write_text("path = '/imported'\n")
    define(project, "from settings_of_stacks import path", "dev = stack('dev', path)")
    before = list(sys.path)
    assert find_stacks(project).get("dev").artifact_store.path == "/imported"
    assert sys.path == before
    assert "stacks" not in sys.modules
    assert not list(project.glob("__pycache__/stacks.*"))


def test_the_file_is_run_once_until_its_text_changes(project):
    define(project, "with open('log', 'a') as log: log.write('x')", "dev = stack('dev')")
    assert find_stacks(project).get("dev") is find_stacks(project).get("dev")
    assert (project / "log").read_text() == "x"
    define(project, "prod = stack('prod')")
    assert find_stacks(project).names == ["default", "prod"]


def test_a_component_class_of_the_file_itself_works(project):
    define(
        project,
        "import attrs",
        "from drystone import Orchestrator",
        "@attrs.frozen(kw_only=True)",
        "class Own(Orchestrator):",
        "    def executor(self, run): raise NotImplementedError",
        "dev = stack('dev').evolve('own', orchestrator=Own())",
    )
    own = find_stacks(project).get("own")
    assert pickle.loads(pickle.dumps(own)) == own


def test_two_plugins_that_offer_one_stack_are_an_error_naming_both(project):
    class Offering(Plugins):
        def offered(self, hook):
            first, second = (
                Plugin(name=name, distribution=f"acme-{name}", version="1", module=name) for name in ("one", "two")
            )
            return [(stack("team"), first), (stack("team"), second)]

    with pytest.raises(DuplicateComponentError) as caught:
        find_stacks(project, Offering([]))
    assert str(caught.value) == (
        "Both acme-one and acme-two offer a stack named 'team'. Uninstall one of them, or block it: "
        "DRYSTONE_PLUGINS_DISABLE=two."
    )


# --- choosing ---------------------------------------------------------------------------------------------------------


def test_the_first_of_five_choices_counts(project, monkeypatch):
    names = ("given", "named", "used", "usual")
    define(project, *(f"{name} = stack('{name}')" for name in names), "default = usual")
    assert find_stacks(project).active().name == "usual"
    find_stacks(project).use("used")
    assert find_stacks(project).active().name == "used"
    monkeypatch.setenv("DRYSTONE_STACK", "named")
    assert find_stacks(project).active().name == "named"
    assert find_stacks(project).active("given").name == "given"
    own = stack("own", artifact_store=FsspecArtifactStore(url="memory://own"))
    assert find_stacks(project).active(own) is own


def test_a_choice_is_kept_in_the_workspace_out_of_sight_of_git(project, monkeypatch):
    define(project, "dev = stack('dev')")
    find_stacks(project).use("dev")
    assert (project / ".drystone/active-stack").read_text() == "dev\n"
    assert (project / ".drystone/.gitignore").read_text() == "*\n"
    monkeypatch.setenv("DRYSTONE_WORKSPACE", str(project / "elsewhere"))
    assert find_stacks(project).active().name == "default"
    find_stacks(project).use("dev")
    assert (project / "elsewhere/active-stack").read_text() == "dev\n"


def test_a_choice_that_cannot_be_kept_is_an_error_that_says_what_to_do_instead(project, monkeypatch):
    define(project, "dev = stack('dev')")
    (project / ".drystone").touch()
    with pytest.raises(WorkspaceError) as caught:
        find_stacks(project).use("dev")
    assert str(caught.value) == (
        f"The workspace {project}/.drystone cannot be made: [Errno 17] File exists: '{project}/.drystone'. Choose "
        "another directory (DRYSTONE_WORKSPACE)."
    )
    (project / "other/active-stack/in-the-way").mkdir(parents=True)
    monkeypatch.setenv("DRYSTONE_WORKSPACE", "other")
    with pytest.raises(WorkspaceError, match=r"cannot be kept in .*/other: .*\. DRYSTONE_STACK=dev chooses it"):
        find_stacks(project).use("dev")


def test_using_an_unknown_stack_changes_nothing(project):
    define(project, "dev = stack('dev')")
    find_stacks(project).use("dev")
    with pytest.raises(StackNotFoundError) as caught:
        find_stacks(project).use("dve")
    assert str(caught.value) == "There is no stack 'dve'. Did you mean 'dev'? Stacks: default, dev."
    assert find_stacks(project).active().name == "dev"


def test_a_chosen_stack_that_is_gone_is_an_error_that_says_who_chose_it(project, monkeypatch):
    define(project, "dev = stack('dev')")
    find_stacks(project).use("dev")
    define(project, "prod = stack('prod')")
    with pytest.raises(StackNotFoundError) as caught:
        find_stacks(project).active()
    assert str(caught.value) == (
        "There is no stack 'dev'. Stacks: default, prod. It was chosen with `drystone stacks use`, which keeps it in "
        f"{project}/.drystone/active-stack; choose another."
    )
    monkeypatch.setenv("DRYSTONE_STACK", "staging")
    with pytest.raises(StackNotFoundError, match=r"There is no stack 'staging'\..* It was named by DRYSTONE_STACK\."):
        find_stacks(project).active()


def test_without_any_stack_the_error_says_what_to_install(project):
    with pytest.raises(StackNotFoundError) as caught:
        find_stacks(project, Plugins([])).active()
    assert str(caught.value) == (
        "There is no stack 'default'. Stacks: none. No stack was chosen, and the built-in one comes with the plugin "
        f"drystone-local. Stacks of a project's own are defined in {project}/stacks.py."
    )


def test_a_missing_stack_is_explained_by_a_broken_plugin(project):
    class Broken:
        name, value, dist = (
            "team",
            "team",
            SimpleNamespace(metadata={"Name": "acme-team", "Version": "1"}, requires=None),
        )

        def load(self):
            raise PluginLoadError("No net.")

    with pytest.raises(StackNotFoundError, match=r"The plugin 'team' of acme-team 1 is installed but broken: No net\."):
        find_stacks(project, Plugins([Broken()])).get("staging")
