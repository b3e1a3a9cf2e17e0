"""Launched steps: how they end otherwise than by returning, and what a resumed run makes of what is left."""

from __future__ import annotations

import json
import subprocess
import sys

import attrs
import pytest

from drystone import FsspecArtifactStore, Stack
from drystone.errors import RunFailedError
from drystone.testing.commands import CommandOrchestrator

PIPELINES = """
import os
import subprocess
from drystone import Secret, load_artifact, pipeline, save_artifact, step

@step
def measured(n: int) -> int:
    print("measuring", n)
    return n

@step
def joined(tokens: list, n: int) -> str:
    return f"{n} {tokens[0].resolve()[::-1]} {tokens[1]} {os.environ.get('TOKEN')}"

@pipeline
def handing():
    n = measured(1)
    return joined([Secret("env:TOKEN"), n], n)

@pipeline
def alone():
    return measured(2)

@step
def leaving() -> int:
    return subprocess.Popen(["sleep", "600"]).pid

@pipeline
def untidy():
    return leaving()

@step
def vanishing() -> int:
    print("almost there")
    os._exit(3)

@pipeline
def gone():
    return vanishing()
"""


@pytest.fixture
def pipelines(module, monkeypatch):
    monkeypatch.setenv("TOKEN", "granite")
    sys.path.insert(0, str(module("ends", PIPELINES).parent))
    import ends

    return ends


@attrs.frozen(kw_only=True)
class Changing(CommandOrchestrator):
    """Gives commands other variables than it should."""

    changed: dict = attrs.field(factory=dict, eq=False)

    def launch(self, task_uri, command, resources, environment, secrets):
        """Launch it with those."""
        return super().launch(task_uri, command, resources, {**environment, **self.changed}, secrets)


@pytest.fixture
def stack(tmp_path):
    store = FsspecArtifactStore(url=f"file://{tmp_path}/store")
    return lambda **changed: Stack("yard", orchestrator=Changing(changed=changed), artifact_store=store)


def test_a_secret_beside_an_output_reaches_the_step(pipelines, stack):
    run = pipelines.handing.with_options(stack=stack(TOKEN="of the command"))()
    assert run.output.load() == "1 etinarg 1 of the command"


def test_a_worker_that_never_reaches_its_step_is_told_as_such(pipelines, stack):
    elsewhere = json.dumps({"no": "store"})
    with pytest.raises(RunFailedError, match="failed outside the step") as caught:
        pipelines.alone.with_options(stack=stack(DRYSTONE_ARTIFACT_STORE=elsewhere))()
    assert "The last that it printed:\n" in str(caught.value)
    assert "os._exit" not in str(caught.value)


def test_a_step_that_exits_is_told_with_what_it_printed_last(pipelines, stack):
    with pytest.raises(RunFailedError, match=r"exited with code 3 .*The last that it printed:\n  almost there"):
        pipelines.gone.with_options(stack=stack())()


def test_what_a_step_leaves_running_holds_nobody_up(pipelines, stack):
    assert pipelines.untidy.with_options(stack=stack())().status == "succeeded"


@pytest.mark.parametrize("arguments", [[], ["task"], ["one", "two"]])
def test_the_workers_command_tells_a_person_whom_it_is_for(arguments):
    command = [sys.executable, "-m", "drystone.workers", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is the command that orchestrators launch" in done.stderr
    assert "Traceback" not in done.stderr


DYING = """
import os
import attrs
from drystone import Environment
from drystone.testing.commands import CommandJob, CommandOrchestrator

class Last(CommandJob):
    def logs(self):
        yield from super().logs()
        if not os.environ.get("SURVIVES"):
            os._exit(9)

@attrs.frozen(kw_only=True)
class Dying(CommandOrchestrator):
    python_there: str = ""

    def environment(self, step):
        return Environment(python=self.python_there, packages={})

    def launch(self, *arguments):
        return Last(super().launch(*arguments)._process)
"""

STACKS = """
import os
from dying import Dying
from drystone import FsspecArtifactStore, Stack

store = FsspecArtifactStore(url=f"file://{os.getcwd()}/store")
yard = Stack("yard", orchestrator=Dying(), artifact_store=store)
other = Stack("other", orchestrator=Dying(python_there="3.99"), artifact_store=store)
"""


RESUME = (
    "from drystone import Workspace; run = Workspace.current().resume('alone-1'); "
    "print(repr(run.steps['measured'].logs()), run.output.load())"
)


@pytest.mark.parametrize("stack", ["yard", "other"])
def test_a_result_that_a_dead_driver_left_is_taken_with_its_log(pipelines, module, python, stack):
    """Also if steps run under another Python, and a file of the project that they do not use was written meanwhile."""
    module("dying", DYING)
    module("stacks", STACKS)
    assert python("-c", "import ends; ends.alone()", DRYSTONE_STACK=stack).returncode == 9
    module("unused", "WRITTEN = 'meanwhile'")
    done = python("-c", RESUME, SURVIVES="1")
    assert done.stdout.splitlines()[-1:] == ["'measuring 2\\n' 2"], done.stderr
    assert "measured |" not in done.stdout


def test_a_result_of_another_environment_is_not_taken(pipelines, module, python):
    module("dying", DYING)
    module("stacks", STACKS)
    assert python("-c", "import ends; ends.alone()", DRYSTONE_STACK="other").returncode == 9
    module("stacks", STACKS.replace("3.99", "3.98"))
    done = python("-c", RESUME, SURVIVES="1")
    assert "measured | measuring 2" in done.stdout, done.stderr
