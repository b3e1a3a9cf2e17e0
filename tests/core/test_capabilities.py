"""What steps need of a stack is known before anything runs, and a refusal says where it is to be had."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import attrs
import pytest

from drystone import (
    Orchestrator,
    Resources,
    RunContext,
    Stack,
    StackComponent,
    Workspace,
    get_context,
    pipeline,
    step,
)
from drystone.errors import PipelineDefinitionError, PlanError, RunFailedError, StackError
from drystone.testing import MemoryArtifactStore, run_step
from drystone_local import LocalArtifactStore, LocalOrchestrator


@attrs.frozen(kw_only=True)
class Threads(Orchestrator):
    """Can run steps at once, and nothing else."""

    def executor(self, run: RunContext) -> Executor:
        return ThreadPoolExecutor(2)


@attrs.frozen(kw_only=True)
class Distant(Threads):
    """Needs a store that other machines reach."""

    @property
    def store_capabilities(self) -> frozenset[str]:
        return frozenset({"shared"})


@attrs.frozen(kw_only=True)
class FeatureStore(StackComponent):
    kind = "feature_store"
    factor: int = 1
    patience: float = attrs.field(default=1.0, metadata={"in_key": False})

    def value(self) -> int:
        return 7 * self.factor


@step(uses="feature_store")
def features() -> int:
    return get_context().feature_store.value()


@step
def undeclared() -> int:
    return get_context().feature_store.value()


@step(timeout=5, resources=Resources(memory="1GiB"))
def heavy(n: int) -> int:
    return n


@pipeline
def using():
    return heavy(features())


@pipeline
def light():
    return features()


@pipeline
def careless():
    return undeclared()


def stack(name: str = "s", orchestrator: Orchestrator | None = None, **others: Any) -> Stack:
    return Stack(name, orchestrator=orchestrator or LocalOrchestrator(), artifact_store=LocalArtifactStore(), **others)


STACKS = """
from drystone import Stack
from drystone_local import LocalArtifactStore, LocalOrchestrator
from {module} import FeatureStore
parts = dict(orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore())
able = Stack("able", **parts, feature_store=FeatureStore())
"""


def test_everything_that_is_missing_is_told_with_what_has_it(project):
    plan = using.with_options(stack=stack(orchestrator=Threads())).plan
    with pytest.raises(PlanError) as refused:
        plan()
    assert str(refused.value).splitlines() == [
        "4 problems:",
        "  - Step 'features' uses the component 'feature_store', which stack 's' does not have.",
        "  - Step 'heavy' needs timeout, which the orchestrator 'threads' of stack 's' cannot provide. Remove timeout= "
        "from the step, or run it on another stack.",
        "  - Step 'heavy' needs resources, which the orchestrator 'threads' of stack 's' cannot provide. Remove "
        "resources= from the step, or run it on another stack.",
        "  - No stack of this project has all of it. Feature store: nothing that is installed. Orchestrator capable of "
        "timeout: of stack 'default', 'docker' is installed, 'local' is installed. Orchestrator capable of resources: "
        "of stack 'default', 'docker' is installed, 'local' is installed.",
    ]


def test_a_stack_of_the_project_that_has_all_of_it_is_named(project):
    (project / "kinds_here.py").write_text(
        "import attrs\nfrom drystone import StackComponent\n"
        "@attrs.frozen(kw_only=True)\nclass FeatureStore(StackComponent):\n    kind = 'feature_store'\n"
    )
    (project / "stacks.py").write_text(STACKS.format(module="kinds_here"))
    with pytest.raises(PlanError, match="Stacks that have all of it: 'able'"):
        using.with_options(stack=stack(orchestrator=Threads()))()
    assert Workspace.current().runs() == []


def test_an_orchestrator_is_refused_a_store_that_cannot_do_what_it_needs(project):
    with pytest.raises(PlanError, match="The orchestrator 'distant' needs shared, which the artifact store 'local' of"):
        light.with_options(stack=stack(orchestrator=Distant(), feature_store=FeatureStore()))()


def test_an_orchestrator_that_runs_all_inline_refuses_a_timeout(project):
    inline = stack(orchestrator=LocalOrchestrator(isolation="inline"), feature_store=FeatureStore())
    with pytest.raises(PlanError, match="Step 'heavy' needs timeout"):
        using.with_options(stack=inline)()


@pytest.mark.parametrize("isolation", ["auto", "process", "inline"])
def test_a_step_gets_what_it_uses_wherever_it_runs(project, module, monkeypatch, isolation):
    monkeypatch.syspath_prepend(str(project))
    module(
        "kinds_there",
        "import attrs\nfrom drystone import StackComponent, get_context, pipeline, step\n"
        "@attrs.frozen(kw_only=True)\nclass FeatureStore(StackComponent):\n"
        "    kind = 'feature_store'\n    factor: int = 1\n"
        "@step(uses=['feature_store'])\ndef features(n: int) -> int:\n"
        "    context = get_context()\n"
        "    return context.feature_store.factor * n + len(context.components)\n"
        "@pipeline\ndef using():\n    return features.map([1, 2, 3])\n",
    )
    import kinds_there

    where = stack(
        orchestrator=LocalOrchestrator(isolation=isolation), feature_store=kinds_there.FeatureStore(factor=10)
    )
    run = kinds_there.using.with_options(stack=where)()
    assert run.output.load() == [11, 21, 31]


def test_what_a_step_uses_is_in_its_key_and_the_plan_says_so(project):
    first = light.with_options(stack=stack(feature_store=FeatureStore()))
    assert first().output.load() == 7
    assert first().executed == 0
    assert light.with_options(stack=stack(feature_store=FeatureStore(patience=9.0)))().executed == 0
    other = light.with_options(stack=stack(feature_store=FeatureStore(factor=2)))
    planned = other.plan().steps["features"]
    assert planned.status == "run"
    [cause] = planned.causes
    assert cause.text == (
        "uses feature_store FeatureStore(factor=1, patience=9.0) → FeatureStore(factor=2, patience=1.0)"
    )
    assert other().output.load() == 14


def test_a_component_that_is_not_declared_is_not_there(project):
    with pytest.raises(RunFailedError, match=r"Declare it: @step\(uses=\['feature_store'\]\)"):
        careless.with_options(stack=stack(feature_store=FeatureStore()))()


def test_uses_names_kinds():
    with pytest.raises(PipelineDefinitionError, match="it names kinds of component"):
        step(uses=["feature store"])(lambda: None)


def test_a_step_that_is_run_alone_gets_what_it_uses(project):
    whole = Stack(
        "memory", orchestrator=Threads(), artifact_store=MemoryArtifactStore(), feature_store=FeatureStore(factor=3)
    )
    assert run_step(features, _stack=whole).output == 21


def test_a_step_is_replayed_with_what_it_uses(project, module, monkeypatch):
    monkeypatch.syspath_prepend(str(project))
    module(
        "kinds_again",
        "import attrs\nfrom drystone import StackComponent, get_context, pipeline, step\n"
        "@attrs.frozen(kw_only=True)\nclass FeatureStore(StackComponent):\n"
        "    kind = 'feature_store'\n    factor: int = 1\n"
        "@step(uses=['feature_store'])\ndef features(n: int) -> int:\n"
        "    return get_context().feature_store.factor * n\n"
        "@pipeline\ndef using():\n    return features(2)\n",
    )
    import kinds_again

    from drystone.replays import replayed

    (project / "stacks.py").write_text(STACKS.format(module="kinds_again") + "default = able\n")
    run = kinds_again.using()
    replay = replayed(Workspace.current(), run.name, "features", debug=False, announce=None)
    assert (replay.outputs, replay.equal, replay.notes) == ({"output": 2}, {"output": True}, ())


def test_a_component_of_another_kind_is_refused_where_the_stack_is_made():
    with pytest.raises(StackError, match="but its kind is 'feature_store'"):
        Stack("s", orchestrator=LocalOrchestrator(), artifact_store=FeatureStore())
    with pytest.raises(StackError, match=r"but its kind is 'artifact_store'\. Write artifact_store="):
        stack(feature_store=LocalArtifactStore())


@step(on="big", timeout=5)
def large() -> int:
    return 1


@step(on="bigg")
def misspelt() -> int:
    return 1


@pipeline
def spread():
    large()
    misspelt()


@pipeline
def growing():
    return large()


def test_steps_on_orchestrators_that_the_stack_does_not_have_are_refused_all_at_once(project):
    with pytest.raises(PlanError) as refused:
        spread.with_options(stack=stack(step_orchestrators={"bigger": LocalOrchestrator()})).plan()
    assert str(refused.value).splitlines() == [
        "3 problems:",
        "  - Step 'large' is to run on 'big', an orchestrator that stack 's' does not have. Did you mean 'bigger'? It "
        "has: bigger.",
        "  - Step 'misspelt' is to run on 'bigg', an orchestrator that stack 's' does not have. Did you mean "
        "'bigger'? It has: bigger.",
        "  - No stack of this project has all of it. Orchestrator for steps on 'big': no stack has one. Give a stack "
        "one: step_orchestrators={'big': …}. Orchestrator for steps on 'bigg': no stack has one. Give a stack one: "
        "step_orchestrators={'bigg': …}.",
    ]


def test_stacks_that_have_the_orchestrator_of_a_step_are_named(project):
    (project / "stacks.py").write_text(
        "from drystone import Stack\n"
        "from drystone_local import LocalArtifactStore, LocalOrchestrator\n"
        "able = Stack('able', orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore(),\n"
        "             step_orchestrators={'big': LocalOrchestrator()})\n"
    )
    with pytest.raises(PlanError, match="Stacks that have all of it: 'able'"):
        growing.with_options(stack=stack()).plan()
    with pytest.raises(PlanError, match="Orchestrator for steps on 'big': of stack 'able'"):
        spread.with_options(stack=stack()).plan()


def test_what_a_step_needs_is_needed_of_the_orchestrator_that_it_runs_on(project):
    threads, local = Threads(), LocalOrchestrator()
    growing.with_options(stack=stack(orchestrator=threads, step_orchestrators={"big": local})).plan()
    with pytest.raises(PlanError) as refused:
        growing.with_options(stack=stack(step_orchestrators={"big": threads})).plan()
    assert (
        "Step 'large' needs timeout, which the orchestrator 'threads' for steps on 'big' of stack 's' cannot provide."
    ) in str(refused.value)


def test_only_orchestrators_that_the_steps_run_on_need_something_of_the_store(project):
    far = {"big": Distant()}
    light.with_options(stack=stack(feature_store=FeatureStore(), step_orchestrators=far)).plan()
    with pytest.raises(PlanError, match="The orchestrator 'distant' for steps on 'big' needs shared, which the arti"):
        growing.with_options(stack=stack(step_orchestrators=far), steps={"large": {"timeout": None}}).plan()


@pytest.mark.parametrize("on", ["", 3, LocalOrchestrator()])
def test_on_is_a_name(on):
    with pytest.raises(PipelineDefinitionError, match="it is the name of an orchestrator among the step_orchestrators"):
        step(on=on)(lambda: None)
