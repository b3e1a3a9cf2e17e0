"""Stacks are checked as a whole, compared setting by setting, and published without their secrets."""

import importlib
import json
import subprocess
import sys

import attrs
import pytest

from drystone import (
    ContainerRegistry,
    FsspecArtifactStore,
    Place,
    Secret,
    Stack,
    Workspace,
    check_stack,
    check_stacks,
    find_pipeline,
    find_stacks,
    pipeline,
    stack_diff,
    stacks_page,
    step,
)
from drystone.errors import StackError, StackNotFoundError
from drystone.origins import provider_of
from drystone.stack_events import StackPublished
from drystone_local import LocalArtifactStore, LocalOrchestrator


def stack(name="dev", **components):
    return Stack(name, **{"orchestrator": LocalOrchestrator(), "artifact_store": LocalArtifactStore(), **components})


@attrs.frozen(kw_only=True)
class Registry(ContainerRegistry):
    """Holds images.

    Attributes:
        uri: Where it is,
            with its path.
    """

    uri: str = "localhost:5000/team"
    headers: dict[str, object] = attrs.field(factory=dict, repr=False)

    def push(self, image: str, name: str, *, engine: object = None) -> str:
        raise NotImplementedError

    def pull(self, reference: str) -> str:
        raise NotImplementedError

    def digest(self, name: str) -> str | None:
        raise NotImplementedError

    def labels(self, name: str) -> dict[str, str] | None:
        raise NotImplementedError

    def check(self):
        raise ConnectionError("nobody listens on port 5000")


@attrs.frozen(kw_only=True)
class Reachable(Registry):
    def check(self):
        return ()


@attrs.frozen(kw_only=True)
class Cloud(LocalOrchestrator):
    @property
    def store_capabilities(self):
        return frozenset({"shared"})


@pytest.fixture
def place(project):
    return Place(root=project, workspace=project / ".drystone")


# --- check ------------------------------------------------------------------------------------------------------------


def test_nothing_is_wrong_with_a_stack_of_this_machine_and_checking_it_makes_nothing(place):
    assert check_stack(stack(), place) == []
    assert not place.workspace.exists()


def test_everything_that_is_wrong_is_told_at_once(place, monkeypatch):
    monkeypatch.delenv("ABSENT", raising=False)
    (place.root / "file").touch()
    wrong = stack(
        orchestrator=Cloud(workers=100_000),
        artifact_store=LocalArtifactStore("file/below"),
        container_registry=Registry(headers={"auth": [Secret("env:ABSENT")]}),
    )
    found = [(each.component, each.message) for each in check_stack(wrong, place)]
    assert [kind for kind, _ in found] == ["", "orchestrator", "artifact_store", "container_registry"]
    assert "capability 'shared', which 'local' has not" in found[0][1]
    assert "workers=100000 are more than this machine can serve" in found[1][1]
    assert "is a file, so there can be no artifact store" in found[2][1]
    assert found[3][1].startswith("headers.auth[0]: ")
    assert "ABSENT" in found[3][1]


def test_a_check_that_raises_is_a_problem_of_its_component(place):
    (problem,) = check_stack(stack(container_registry=Registry()), place)
    assert problem.component == "container_registry"
    assert problem.message == "It cannot be used: ConnectionError: nobody listens on port 5000"


def test_a_class_that_another_process_cannot_import_is_told(place):
    @attrs.frozen
    class Nested(LocalArtifactStore):
        pass

    (problem,) = check_stack(stack(artifact_store=Nested()), place)
    assert "is defined in a function, where no other process can import it" in problem.message


def test_a_store_of_any_filesystem_is_probed_and_left_as_it_was(place, tmp_path):
    root = tmp_path / "far"
    assert check_stack(stack(artifact_store=FsspecArtifactStore(url=f"file://{root}")), place) == []
    assert not root.exists()
    root.mkdir()
    (root / "kept").touch()
    assert check_stack(stack(artifact_store=FsspecArtifactStore(url=f"file://{root}")), place) == []
    assert (root / "kept").exists()
    (problem,) = check_stack(stack(artifact_store=FsspecArtifactStore(url="nowhere://x")), place)
    assert "nowhere" in problem.message


def test_a_published_stack_that_cannot_be_made_is_a_problem_and_others_are_checked(workspace):
    broken = changed_record(workspace, **{"class": "absent_pkg:X", "distribution": "absent-pkg", "version": "2.1"})
    workspace.commit(lambda view: [StackPublished(name="gone", number=1, components=broken.components)])
    found = find_stacks()
    assert found.names == ["default", "gone", "team"]
    assert found.describe("gone")["components"]["orchestrator"]["distribution"] == "absent-pkg"
    (problem,) = check_stacks(found, found.names)
    assert problem.stack == "gone"
    assert "pip install 'absent-pkg>=2.1'" in problem.message


@attrs.frozen(kw_only=True)
class Keyed(LocalOrchestrator):
    """Looks for a registry in its stack."""

    token: Secret | None = None
    registry: str = ""

    def within(self, components):
        return attrs.evolve(self, registry=getattr(components.get("container_registry"), "uri", "none"))

    def check(self):
        yield f"The registry is {self.registry}."


def test_orchestrators_of_steps_are_checked_like_components_and_know_the_others(place, monkeypatch):
    monkeypatch.delenv("ABSENT", raising=False)
    further = {"big": Cloud(workers=100_000), "keyed": Keyed(token=Secret("env:ABSENT")), "open": Keyed()}
    found = check_stack(stack(step_orchestrators=further, container_registry=Reachable()), place)
    assert [each.component for each in found] == ["", *(f"step_orchestrators.{name}" for name in further)]
    assert found[0].message == (
        "The orchestrator 'cloud' for steps on 'big' needs an artifact store with the capability 'shared', which "
        "'local' has not. Take another artifact store, or another orchestrator."
    )
    assert "workers=100000 are more than this machine can serve" in found[1].message
    assert found[2].message.startswith("token: ")
    assert found[3].message == "The registry is localhost:5000/team."


# --- diff -------------------------------------------------------------------------------------------------------------


def test_stacks_are_compared_setting_by_setting():
    new = stack("prod", orchestrator=LocalOrchestrator(workers=2), container_registry=Registry())
    changes = {each.path: (each.change, each.before, each.after) for each in stack_diff(stack(), new)}
    assert changes == {
        "orchestrator.workers": ("changed", None, 2),
        "container_registry.class": ("added", None, f"{__name__}.Registry"),
        "container_registry.uri": ("added", None, "localhost:5000/team"),
        "container_registry.headers": ("added", None, {}),
    }
    assert {each.change for each in stack_diff(new, stack())} == {"changed", "removed"}
    assert stack_diff(new, new.evolve("other")) == []


def test_orchestrators_of_steps_are_compared_like_components():
    old = stack(step_orchestrators={"big": LocalOrchestrator(workers=2), "gone": LocalOrchestrator()})
    new = old.evolve("new", step_orchestrators={"big": LocalOrchestrator(workers=3), "come": LocalOrchestrator()})
    texts = [str(each) for each in stack_diff(old, new)]
    assert texts[0] == "changed  step_orchestrators.big.workers: 2 → 3"
    assert {text.rpartition(":")[0].rpartition(".")[0] for text in texts[1:]} == {
        "removed  step_orchestrators.gone",
        "added    step_orchestrators.come",
    }


def test_what_is_hidden_is_compared_but_not_shown():
    old, new = (stack(container_registry=Registry(headers={"x": text})) for text in ("one", "two"))
    (change,) = stack_diff(old, new)
    assert str(change) == "changed  container_registry.headers.x: '…' → '…'"


def test_a_set_is_described_the_same_in_every_process(project):
    code = "from drystone.components import setting_to_json as j; print(j(frozenset('abcdefgh')))"
    texts = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(texts) == 1


def test_evolving_can_leave_a_component_out():
    assert (
        "container_registry" not in stack(container_registry=Registry()).evolve("x", container_registry=None).components
    )
    with pytest.raises(StackError, match="has no orchestrator"):
        stack().evolve("x", orchestrator=None)


# --- publish ----------------------------------------------------------------------------------------------------------


def test_a_published_stack_is_used_by_its_name_with_relative_paths_and_references(workspace):
    options = {"auth": Secret("env:S3_SECRET"), "endpoint": "http://here"}
    team = stack("team", artifact_store=FsspecArtifactStore(url="memory://team", options=options))
    workspace.publish(team)
    workspace.publish(stack("near", artifact_store=LocalArtifactStore("data/blobs")))
    assert find_stacks().get("team") == team
    assert find_stacks().get("near").artifact_store.path == "data/blobs"
    assert find_stacks().source("team") == "published by tester@example.org, version 1"
    assert [each.name for each in workspace.published()] == ["near", "team"]


def test_a_published_stack_keeps_its_orchestrators_of_steps(workspace):
    team = stack("team", step_orchestrators={"big": LocalOrchestrator(workers=2)})
    workspace.publish(team)
    assert find_stacks().get("team") == team
    described = workspace.published()[0].describe()
    assert list(described["components"]) == ["orchestrator", "artifact_store"]
    assert described["step_orchestrators"]["big"]["settings"] == {"workers": 2, "isolation": "auto"}
    assert workspace.publish(team.evolve("team", step_orchestrators=None)).number == 2
    assert find_stacks().get("team") == stack("team")


def test_a_stack_that_was_published_before_stacks_had_orchestrators_of_steps_is_the_same_now(workspace):
    described = {
        "class": "drystone_local.orchestrator:LocalOrchestrator",
        "name": "local",
        "distribution": "drystone-local",
        "version": "0.1.0",
        "settings": {"workers": 2, "isolation": "auto"},
        "values": {"workers": 2, "isolation": "auto"},
    }
    kept = {
        "class": "drystone_local.artifact_store:LocalArtifactStore",
        "settings": {"path": "x"},
        "values": {"path": "x"},
    }
    components = {"orchestrator": described, "artifact_store": described | kept}
    workspace.commit(lambda view: [StackPublished(name="old", number=1, components=components)])
    restored = find_stacks().get("old")
    assert restored == Stack("old", orchestrator=LocalOrchestrator(workers=2), artifact_store=LocalArtifactStore("x"))
    assert find_stacks().describe("old")["step_orchestrators"] == {}


def test_orchestrators_of_steps_that_others_could_not_use_are_refused(workspace):
    with pytest.raises(
        StackError, match=r"step_orchestrators\.big: The class Keyed .* is of no installed distribution"
    ):
        workspace.publish(stack("team", step_orchestrators={"big": Keyed()}))


def test_publishing_again_makes_a_version_only_if_something_is_different(workspace):
    assert workspace.publish(stack("team")).number == 1
    assert workspace.publish(stack("team")).number == 1
    assert workspace.publish(stack("team", orchestrator=LocalOrchestrator(workers=2))).number == 2
    assert workspace.unpublish("team").number == 3
    assert workspace.published() == []
    assert [each.components is None for each in workspace.stack_history("team")] == [True, False, False]
    with pytest.raises(StackNotFoundError, match="No stack 'team' is published"):
        workspace.unpublish("team")
    assert workspace.publish(stack("team")).number == 4


def test_published_stacks_survive_a_rebuild_and_verify(workspace):
    workspace.publish(stack("team"))
    before = workspace.published()
    assert workspace.verify() == []
    workspace.rebuild()
    assert workspace.published() == before


def test_what_others_could_not_use_or_must_not_read_is_refused_all_at_once(workspace):
    options = {"secret": "hunter2"}
    wrong = stack(
        "team",
        artifact_store=FsspecArtifactStore(url="memory://x", options=options),
        container_registry=Registry(),
    )
    with pytest.raises(StackError) as caught:
        workspace.publish(wrong)
    text = str(caught.value)
    assert "The class Registry" in text
    assert "is of no installed distribution" in text
    assert "The setting options.secret is plain text and looks like a credential" in text
    assert "hunter2" not in text
    assert workspace.published() == []


def changed_record(workspace, **parts):
    saved = workspace.publish(stack("team"))
    return attrs.evolve(saved, components=saved.components | {"orchestrator": saved.components["orchestrator"] | parts})


def test_a_distribution_that_is_missing_is_named_with_its_version(workspace):
    gone = changed_record(workspace, **{"class": "absent_pkg:X", "distribution": "absent-pkg", "version": "2.1"})
    with pytest.raises(StackError, match=r"absent-pkg is not installed. Install it: pip install 'absent-pkg>=2.1'"):
        gone.restore()
    older = changed_record(workspace, **{"class": "drystone_local:Gone", "version": "0.0.1"})
    with pytest.raises(StackError, match=r"has no class drystone_local:Gone.*pip install 'drystone-local==0.0.1'"):
        older.restore()


def test_a_class_that_has_changed_its_settings_is_told_with_their_names(workspace):
    with pytest.raises(StackError, match=r"LocalOrchestrator has no setting 'wrokers'\. Did you mean 'workers'"):
        changed_record(workspace, values={"wrokers": 2}).restore()


def test_a_project_s_own_stack_goes_before_a_published_one_and_the_workspace_is_not_asked(workspace, project):
    workspace.publish(stack("default", orchestrator=LocalOrchestrator(workers=7)))
    found = find_stacks()
    assert found.get("default").orchestrator.workers is None
    assert "published" not in vars(found)


MILL = """
from drystone import pipeline, step

@step
def grind() -> int:
    return 1

@pipeline
def mill():
    return grind()
"""


def test_a_pipeline_runs_on_a_published_stack_and_its_run_keeps_the_settings(module, project):
    module("mill", MILL)

    workspace = Workspace.current()
    workspace.publish(stack("team"))
    mill = find_pipeline("mill:mill", project)
    first = mill.with_options(stack="team")()
    workspace.publish(stack("team", orchestrator=LocalOrchestrator(workers=2)))
    second = mill.with_options(stack="team")()
    assert (first.stack, second.stack) == ("team", "team")
    assert second.components["orchestrator"]["settings"]["workers"] == 2
    texts = [each.text for each in workspace.diff(first, second).differences]
    assert "setting orchestrator.workers none → 2" in texts


def test_classes_know_the_distribution_that_provides_them():
    assert provider_of(LocalArtifactStore)[0] == "drystone-local"
    assert provider_of(FsspecArtifactStore)[0] == "drystone-core"
    assert provider_of(attrs.Attribute)[0] == "attrs"
    assert provider_of(Registry) is None
    assert provider_of(json.JSONDecoder) is None


ACME = """
import attrs
from drystone_local import LocalOrchestrator

@attrs.frozen(kw_only=True)
class AcmeOrchestrator(LocalOrchestrator):
    region: str = "here"
"""


def test_a_stack_of_a_plugin_that_is_installed_here_and_not_there_says_what_to_install_there(
    workspace, tmp_path, monkeypatch
):
    site = tmp_path / "site-packages"
    (site / "acme_clouds-3.2.dist-info").mkdir(parents=True)
    (site / "acme_clouds-3.2.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: acme-clouds\nVersion: 3.2\n")
    (site / "acme_clouds-3.2.dist-info/RECORD").write_text("acme_clouds.py,,\n")
    (site / "acme_clouds.py").write_text(ACME)
    with monkeypatch.context() as here:
        here.syspath_prepend(site)
        acme = importlib.import_module("acme_clouds")
        try:
            team = stack("team", orchestrator=acme.AcmeOrchestrator(region="there"))
            assert team.describe()["components"]["orchestrator"]["distribution"] == "acme-clouds"
            workspace.publish(team)
            assert find_stacks().get("team") == team
            monkeypatch.setattr(acme, "AcmeOrchestrator", LocalOrchestrator)
            with pytest.raises(StackError, match="was published from acme-clouds, but here it is of drystone-local"):
                find_stacks().get("team")
        finally:
            del sys.modules["acme_clouds"]
    with pytest.raises(StackError, match=r"acme-clouds is not installed\. Install it: pip install 'acme-clouds>=3\.2'"):
        find_stacks().get("team")


# --- doc --------------------------------------------------------------------------------------------------------------


@step(timeout=5)
def slow(x: int) -> int:
    return x


@pipeline
def patient(x: int = 1):
    return slow(slow(x))


def test_a_page_tells_settings_with_their_meaning_and_which_stack_runs_what(workspace, project):
    (project / "stacks.py").write_text(
        "from drystone import Stack\n"
        "from drystone_local import LocalArtifactStore, LocalOrchestrator\n"
        "class Simple(LocalOrchestrator):\n"
        "    capabilities = frozenset({'parallel'})\n"
        "lone = Stack('lone', orchestrator=Simple(isolation='process'), artifact_store=LocalArtifactStore())\n"
    )
    page = stacks_page(find_stacks(), [patient], workspace)
    assert "| `workers` |  |  | How many steps run at once, in as many processes;" in page
    assert "| `isolation` | `process` | `auto` |" in page
    assert "flowchart TD" in page
    assert "n0 --> n1" in page
    assert "| `slow` | 5 s |  | timeout |  |" in page
    assert "| `default` | yes |  |" in page
    assert "| `lone` | no | Step 'slow' needs timeout" in page


@step(on="big")
def large(x: int) -> int:
    return x


@pipeline
def growing(x: int = 1):
    return large(x)


def test_a_page_tells_the_orchestrators_of_steps_and_who_needs_them(workspace, project):
    (project / "stacks.py").write_text(
        "from drystone import Stack\n"
        "from drystone_local import LocalArtifactStore, LocalOrchestrator\n"
        "lone = Stack('lone', orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore())\n"
        "wide = lone.evolve('wide', step_orchestrators={'big': LocalOrchestrator(isolation='inline')})\n"
    )
    page = stacks_page(find_stacks(), [growing], workspace)
    assert "### step_orchestrators.big: local" in page
    assert "| `large` |  |  |  |  | `big` |" in page
    assert "| `lone` | no | Step 'large' is to run on 'big'" in page
    assert "| `wide` | yes |" in page
