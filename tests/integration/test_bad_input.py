"""Bad input of every kind gets a clear error with the way out, and loses nothing; in Python and on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drystone import Workspace, find_pipeline, load_artifact
from drystone.errors import (
    BlobLostError,
    MaterializerError,
    ParameterError,
    PipelineDefinitionError,
    RunFailedError,
    StackError,
    StackNotFoundError,
)

FLOWS = """
import threading
from typing import Annotated

from drystone import pipeline, step


@step
def load(rows: int) -> Annotated[list[int], "numbers"]:
    return list(range(rows))


@step
def count(numbers: list[int]) -> dict[str, int]:
    return {"count": len(numbers)}


@step
def fit(numbers: list[int], rate: float = 0.5) -> Annotated[float, "score"]:
    return sum(numbers) * rate


@step
def hold(numbers: list[int]) -> tuple[Annotated[int, "first"], Annotated[object, "lock"]]:
    return numbers[0], threading.Lock()


@pipeline
def training(rows: int = 3, rate: float = 0.5):
    return fit(load(rows), rate)


@pipeline
def mismatched():
    return fit(count(load(3)))


@pipeline
def locking():
    first, lock = hold(load(3))
    return fit([first]), lock
"""


@pytest.fixture
def flows(project: Path) -> Iterator[Path]:
    """A project that has run once: `training-1`, `numbers@1`, `score@1`."""
    file = project / "flows.py"
    file.write_text(FLOWS)
    before = list(sys.path)
    found(project, "training")()
    yield file
    sys.path[:] = before
    sys.modules.pop("flows", None)
    Workspace.current().close()


def found(project: Path, name: str) -> Any:
    return find_pipeline(f"flows:{name}", project)


def assert_nothing_is_lost(*runs: str) -> None:
    """The workspace is whole, has these runs and no other beside the first, and what was made before loads."""
    workspace = Workspace.current()
    assert workspace.verify() == []
    assert [run.name for run in workspace.runs()] == [*runs[::-1], "training-1"]
    assert (load_artifact("numbers", 1), load_artifact("score", 1)) == ([0, 1, 2], 1.5)


def assert_the_corrected_call_works(project: Path, command: Callable[..., Any], **parameters: Any) -> None:
    assert found(project, "training")(**parameters).status == "succeeded"
    options = [f"--param={name}={value}" for name, value in parameters.items()]
    assert command("run", "flows:training", *options).code == 0


# --- unknown parameter ------------------------------------------------------------------------------------------------


def test_an_unknown_parameter(flows: Path, project: Path, command: Callable[..., Any]) -> None:
    message = "Pipeline 'training' has no parameter 'rowz'. Did you mean 'rows'? Its parameters: rate, rows."
    with pytest.raises(ParameterError) as caught:
        found(project, "training")(rowz=4)
    assert str(caught.value) == message
    for verb in ("run", "plan"):
        refused = command(verb, "flows:training", "--param", "rowz=4")
        assert (refused.code, refused.message) == (2, f"Error: --param rowz: {message}")
    assert_nothing_is_lost()
    assert_the_corrected_call_works(project, command, rows=4)


def test_a_parameter_of_a_wrong_type(flows: Path, project: Path, command: Callable[..., Any]) -> None:
    with pytest.raises(ParameterError) as caught:
        found(project, "training")(rows="many")
    assert str(caught.value) == "Pipeline 'training' takes 'rows' as int, but is given 'many', which is str."
    refused = command("run", "flows:training", "--param", "rows=many")
    assert refused.code == 2
    assert refused.message == "Error: --param rows: it takes a whole number, not 'many'."
    assert_nothing_is_lost()


# --- wrong type on an edge --------------------------------------------------------------------------------------------


def test_a_wrong_type_on_an_edge(flows: Path, project: Path, command: Callable[..., Any]) -> None:
    message = (
        "Step 'fit' takes 'numbers' as list[int], but step 'count' makes dict[str, int]. Change one of the two "
        "annotations, or put a step between them."
    )
    with pytest.raises(PipelineDefinitionError) as caught:
        found(project, "mismatched")()
    assert str(caught.value) == message
    for verb in ("run", "plan"):
        refused = command(verb, "flows:mismatched")
        assert (refused.code, refused.message) == (1, f"Error: {message}")
    assert_nothing_is_lost()
    flows.write_text(FLOWS.replace("fit(count(load(3)))", "count(load(3))"))
    assert command("run", "flows:mismatched").code == 0


# --- unknown stack ----------------------------------------------------------------------------------------------------


def test_an_unknown_stack(
    flows: Path, project: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = f"Stacks of a project's own are defined in {project}/stacks.py."
    message = f"There is no stack 'defalt'. Did you mean 'default'? Stacks: default. {where}"
    training = found(project, "training")
    with pytest.raises(StackNotFoundError) as caught:
        training.with_options(stack="defalt")()
    assert str(caught.value) == message
    for arguments in (
        ("run", "flows:training", "--stack", "defalt"),
        ("plan", "flows:training", "--stack", "defalt"),
        ("stacks", "use", "defalt"),
        ("stacks", "show", "defalt"),
    ):
        refused = command(*arguments)
        assert (refused.code, refused.message) == (2, f"Error: {message}")
    by_name = f"There is no stack 'staging'. Stacks: default. It was named by DRYSTONE_STACK. {where}"
    refused = command("run", "flows:training", DRYSTONE_STACK="staging")
    assert (refused.code, refused.message) == (2, f"Error: {by_name}")
    monkeypatch.setenv("DRYSTONE_STACK", "staging")
    with pytest.raises(StackNotFoundError) as caught:
        training()
    assert str(caught.value) == by_name
    monkeypatch.delenv("DRYSTONE_STACK")
    assert_nothing_is_lost()
    assert training.with_options(stack="default")().status == "succeeded"
    assert command("run", "flows:training", "--stack", "default").code == 0


# --- missing plugin ---------------------------------------------------------------------------------------------------


def test_a_plugin_that_stacks_need_and_that_is_not_installed(
    flows: Path, project: Path, command: Callable[..., Any]
) -> None:
    stacks = project / "stacks.py"
    stacks.write_text("from drystone import Stack\nfrom drystone_no_such_cloud import CloudOrchestrator\n")
    message = (
        f"The stacks of this project cannot be loaded: {stacks}, line 2: ModuleNotFoundError: No module named "
        "'drystone_no_such_cloud'. Install the plugin: pip install drystone-no-such-cloud."
    )
    with pytest.raises(StackError) as caught:
        found(project, "training")()
    assert str(caught.value) == message
    for arguments in (("run", "flows:training"), ("runs", "list"), ("stacks", "list")):
        refused = command(*arguments)
        assert (refused.code, refused.message) == (1, f"Error: {message}")
    stacks.unlink()
    assert_nothing_is_lost()
    assert_the_corrected_call_works(project, command)


def test_the_built_in_stack_without_its_plugin(flows: Path, command: Callable[..., Any]) -> None:
    refused = command("run", "flows:training", DRYSTONE_PLUGINS_DISABLE="local")
    assert refused.code == 2
    beginning, _, ending = refused.message.partition(" The plugin 'local' of ")
    assert beginning == (
        "Error: There is no stack 'default'. Stacks: none. No stack was chosen, and the built-in one comes with the "
        f"plugin drystone-local. Stacks of a project's own are defined in {flows.parent}/stacks.py."
    )
    assert ending.endswith(" is blocked by DRYSTONE_PLUGINS_DISABLE.")
    assert_nothing_is_lost()


def test_an_artifact_whose_materializer_is_not_installed(
    flows: Path, project: Path, python: Callable[..., Any], command: Callable[..., Any]
) -> None:
    save = "import numpy; from drystone import save_artifact; save_artifact(numpy.arange(3), 'array')"
    load = "from drystone import load_artifact; print(load_artifact('array').sum())"
    assert python("-c", save).returncode == 0
    without = python("-c", load, DRYSTONE_PLUGINS_DISABLE="data")
    assert without.stderr.splitlines()[-1] == (
        "drystone.errors.MaterializerError: This artifact was written by the materializer 'numpy.array' of "
        "drystone-data, which is not in use here. Install it: pip install drystone-data. If it is installed, `drystone "
        "plugins list` says whether it is blocked or broken."
    )
    assert command("artifacts", "get", "array", DRYSTONE_PLUGINS_DISABLE="data").code == 0, "copying needs no reader"
    assert python("-c", load).stdout == "3\n"
    assert_nothing_is_lost()


# --- misspelt hook ----------------------------------------------------------------------------------------------------

MISSPELT = (
    "The plugin 'acme' of acme-stones 1.0 is installed but broken: It implements a hook 'drystone_run_finishd', which "
    "does not exist. Did you mean 'drystone_run_finished'? Hooks: drystone_artifact_saved, drystone_commands, "
    "drystone_components, drystone_ledgers, drystone_materializers, drystone_model_promoted, drystone_run_finished, "
    "drystone_run_started, drystone_secret_resolvers, drystone_stacks, drystone_step_finished, "
    "drystone_step_progressed, drystone_step_started. `drystone plugins doctor` shows all of it."
)


@pytest.fixture
def misspelt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an installed plugin that misspells a hook."""
    site = tmp_path_factory.mktemp("site")
    (site / "acme_stones.py").write_text(
        "from drystone import hookimpl\n\n@hookimpl\ndef drystone_run_finishd(run):\n    print('heard', run.name)\n"
    )
    info = site / "acme_stones-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-stones\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[drystone]\nacme = acme_stones\n")
    return site


def test_a_misspelt_hook(flows: Path, misspelt: Path, command: Callable[..., Any]) -> None:
    found = command("plugins", "doctor", PYTHONPATH=str(misspelt))
    assert (found.code, found.out.splitlines()[0]) == (1, MISSPELT)
    ran = command("run", "flows:training", PYTHONPATH=str(misspelt))
    assert ran.code == 0
    assert ran.err.splitlines()[0] == f"Warning: {MISSPELT}"
    assert_nothing_is_lost("training-2")
    source = misspelt / "acme_stones.py"
    source.write_text(source.read_text().replace("finishd", "finished"))
    assert command("plugins", "doctor", PYTHONPATH=str(misspelt)).code == 0
    assert "heard training-3\n" in command("run", "flows:training", PYTHONPATH=str(misspelt)).out


def test_a_misspelt_hook_is_told_where_a_script_runs_a_pipeline(
    flows: Path, misspelt: Path, python: Callable[..., Any]
) -> None:
    ran = python("-c", "import flows; flows.training()", PYTHONPATH=str(misspelt))
    assert ran.returncode == 0
    assert MISSPELT in ran.stderr


# --- unserialisable output --------------------------------------------------------------------------------------------

UNSTORABLE = (
    "A value of type _thread.lock cannot be stored: it has no JSON form, no installed plugin has a materializer for "
    "it, and pickling it fails (TypeError: cannot pickle '_thread.lock' object). Return something else, or write a "
    "materializer (hook drystone_materializers)."
)


def test_an_unserialisable_output(flows: Path, project: Path, command: Callable[..., Any]) -> None:
    with pytest.raises(RunFailedError) as caught:
        found(project, "locking")()
    assert str(caught.value) == f"Run locking-1 failed: step 'hold' raised MaterializerError: {UNSTORABLE}"
    assert isinstance(caught.value.__cause__, MaterializerError)
    statuses = {name: step.status for name, step in caught.value.run.steps.items()}
    assert statuses == {"load": "cached", "hold": "failed", "fit": "skipped"}
    refused = command("run", "flows:locking")
    assert refused.code == 1
    assert refused.last == f"Error: Run locking-2 failed: step 'hold' raised MaterializerError: {UNSTORABLE}"
    assert "Traceback" not in refused.err
    workspace = Workspace.current()
    assert workspace.artifacts(name="first") == workspace.artifacts(name="lock") == []
    assert_nothing_is_lost("locking-1", "locking-2")
    flows.write_text(FLOWS.replace("threading.Lock()", "'free'"))
    assert command("resume", "locking-2").code == 0
    assert (load_artifact("lock"), workspace.artifact("lock").version) == ("free", 1)


def test_an_unserialisable_value_saved_outside_a_run(flows: Path, python: Callable[..., Any]) -> None:
    refused = python("-c", "from drystone import save_artifact; import threading; save_artifact(threading.Lock(), 'x')")
    assert refused.stderr.splitlines()[-1] == f"drystone.errors.MaterializerError: {UNSTORABLE}"
    assert Workspace.current().artifacts(name="x") == []
    assert_nothing_is_lost()


@pytest.mark.parametrize("target", ["locking", "failing"])
def test_what_went_wrong_is_told_once(flows: Path, command: Callable[..., Any], target: str) -> None:
    flows.write_text(
        FLOWS
        + "\n\n@step\ndef broken() -> int:\n    raise KeyError('x')\n\n\n@pipeline\ndef failing():\n    broken()\n"
    )
    refused = command("run", f"flows:{target}")
    assert (refused.out + refused.err).count("Traceback") == (target == "failing")


# --- a corrupt blob ---------------------------------------------------------------------------------------------------

DAMAGED, MISSING, CUT = b"[9,1,2]", None, b"[0"
"""What may have become of the seven bytes of `numbers@1`."""


def spoil(project: Path, content: bytes | None) -> None:
    """Damage the blob of `numbers@1`."""
    (blob,) = Workspace.current().artifact("numbers", 1).manifest.blobs
    file = project / ".drystone/artifacts/blobs" / blob.digest[:2] / blob.digest
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_bytes(content)


def lost(how: str, project: Path) -> str:
    store = Workspace.current().artifact("numbers", 1).manifest.store
    return (
        f"The blob 78fbfd0ba5d8… (value.json, 7 bytes) is {how} in the artifact store {store}. Run the pipeline again: "
        "what made it counts as not cached and makes it anew. `drystone workspace verify` lists everything that is "
        "missing or damaged."
    )


SPOILT = [(DAMAGED, "damaged"), (MISSING, "missing"), (CUT, "damaged")]


@pytest.mark.parametrize(("content", "how"), SPOILT)
def test_a_corrupt_blob_is_named(
    flows: Path, project: Path, command: Callable[..., Any], content: bytes | None, how: str
) -> None:
    spoil(project, content)
    with pytest.raises(BlobLostError) as caught:
        load_artifact("numbers")
    assert str(caught.value) == lost(how, project)
    spoil(project, content)
    refused = command("artifacts", "get", "numbers")
    assert (refused.code, refused.message) == (1, f"Error: {lost(how, project)}")
    assert not list((project / "numbers-1").glob("*"))


@pytest.mark.parametrize(("content", "how"), SPOILT)
def test_a_corrupt_blob_is_found_by_verify(
    flows: Path, project: Path, command: Callable[..., Any], content: bytes | None, how: str
) -> None:
    store = Workspace.current().artifact("numbers", 1).manifest.store
    spoil(project, content)
    verified = command("workspace", "verify", "--json")
    assert verified.code == 1
    assert verified.records == [
        {
            "kind": "blob",
            "subject": "numbers@1",
            "message": f"The blob 78fbfd0ba5d8… of numbers@1 is {how} in the artifact store {store}.",
            "remedy": "Run the pipeline again: what made it counts as not cached.",
        }
    ]
    assert load_artifact("score", 1) == 1.5


@pytest.mark.parametrize("content", [DAMAGED, MISSING, CUT])
@pytest.mark.parametrize("noticed", ["by a step", "by loading", "by verify"])
def test_a_corrupt_blob_is_made_anew_when_the_pipeline_runs_again(
    flows: Path, project: Path, command: Callable[..., Any], content: bytes | None, noticed: str
) -> None:
    spoil(project, content)
    if noticed == "by a step":
        command("run", "flows:training", "--param", "rate=0.1")  # may fail, and says what to do: run it again
    elif noticed == "by loading":
        assert command("artifacts", "get", "numbers").code == 1
    else:
        assert command("workspace", "verify").code == 1
    assert command("run", "flows:training", "--param", "rate=0.2").code == 0
    workspace = Workspace.current()
    assert workspace.verify() == []
    assert load_artifact("numbers", 1) == [0, 1, 2]


def test_a_corrupt_blob_is_made_anew_without_the_cache(flows: Path, project: Path, command: Callable[..., Any]) -> None:
    spoil(project, DAMAGED)
    assert command("run", "flows:training", "--no-cache").code == 0
    assert Workspace.current().verify() == []


# --- a stacks.py that raises ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("x = 1\nraise RuntimeError('no stacks today')\n", "line 2: RuntimeError: no stacks today"),
        ("import os\nos.environ['NO_SUCH_VARIABLE']\n", "line 2: KeyError: 'NO_SUCH_VARIABLE'"),
        ("from drystone import Stack\ndev = Stack('dev'\n", "line 2: SyntaxError: '(' was never closed"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
    ],
)
def test_a_stacks_file_that_raises(
    flows: Path, project: Path, command: Callable[..., Any], source: str, problem: str
) -> None:
    stacks = project / "stacks.py"
    stacks.write_text(source)
    message = (
        f"The stacks of this project cannot be loaded: {stacks}, {problem}. Correct it; until then this project has no "
        "stacks."
    )
    for use in (found(project, "training"), lambda: load_artifact("numbers"), found(project, "training").plan):
        with pytest.raises(StackError) as caught:
            use()
        assert str(caught.value) == message
    for arguments in (("run", "flows:training"), ("plan", "flows:training"), ("runs", "list"), ("stacks", "list")):
        refused = command(*arguments)
        assert (refused.code, refused.message) == (1, f"Error: {message}")
    stacks.write_text("")
    assert_nothing_is_lost()
    assert_the_corrected_call_works(project, command)
