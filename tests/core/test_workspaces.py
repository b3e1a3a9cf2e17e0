"""A workspace commits all or nothing, for any number of processes, and says afterwards what is true."""

import multiprocessing
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from drystone import Artifact, Model, load_artifact, save_artifact
from drystone.artifacts import Blob, Manifest, Reference
from drystone.blobs import blob_key, store_bytes
from drystone.contexts import StepContext, active
from drystone.databases import FILE, check_local
from drystone.errors import BlobLostError, LedgerDamagedError, NotFoundError, StepContextError, WorkspaceError
from drystone.events import (
    ArtifactSaved,
    CodeRecorded,
    ModelVersionCreated,
    RunFinished,
    RunStarted,
    SourceRecorded,
    StepFinished,
    StepStarted,
    event_to_json,
)
from drystone.ledgers import SQLiteLedger, next_commit
from drystone.runs import Run
from drystone.workspaces import RunLock, Workspace


def manifest(digest="d" * 64):
    blobs = (Blob("value.json", digest, 3),)
    return Manifest(
        digest=digest, type="int", materializer="json", materializer_version=1, blobs=blobs, store="local:1"
    )


def finished_run(workspace, pipeline="p", status="succeeded", model=None):
    """A run of one step with one output, from beginning to end."""

    def decide(view):
        number, version = view.next_number("run", pipeline), view.next_number("artifact", "x")
        run = f"{pipeline}-{number}"
        facts = {"run": run, "step": "a", "key": f"k{number}", "closure": "c", "values": {"n": "1"}}
        yield RunStarted(run=run, number=number, pipeline=pipeline, stack="dev", parameters={}, steps=("a", "b"))
        if model:
            made = view.next_number("model_version", model)
            yield ModelVersionCreated(model=model, number=made, run=run)
        yield StepStarted(**facts, attempt=1)
        yield ArtifactSaved(
            name="x", version=version, kind="data", manifest=manifest(), run=run, step="a", output="output"
        )
        inputs = {"n": ("x", version - 1)} if version > 1 else {}
        done = {"status": "succeeded", "attempts": 1, "metadata": {"auc": 0.5}, "inputs": inputs}
        yield StepFinished(**facts, **done, outputs={"output": ("x", version)})
        outputs = {"output": ("x", version)}
        role = (model, made) if model else None
        yield RunFinished(run=run, status=status, outputs=outputs, executed=1, model_version=role)

    commit = workspace.commit(lambda view: list(decide(view)))
    return workspace.run(commit.events[0]["run"])


# Opening


def test_a_new_workspace_keeps_itself_out_of_git(tmp_path):
    workspace = Workspace(tmp_path / "deep" / "ws")
    assert (workspace.directory / ".gitignore").read_text() == "*\n"
    assert workspace.info() == {
        "location": str(tmp_path / "deep" / "ws"),
        "format": 1,
        "commits": 0,
        "head": "",
        "runs": 0,
        "artifact_versions": 0,
        "models": 0,
    }
    workspace.close()


@pytest.mark.parametrize("is_open", [True, False])
def test_what_cannot_be_written_to_can_be_read(tmp_path, monkeypatch, is_open):
    writer = Workspace(tmp_path)
    run = finished_run(writer)
    if not is_open:
        writer.close()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    reader = Workspace(tmp_path)
    assert reader.run("p-1") == run
    with pytest.raises(WorkspaceError, match=r"cannot be written to: attempt to write a readonly.*permissions"):
        reader.tag(run, "good")
    if is_open:
        finished_run(writer)
        assert reader.run("p-2").status == "succeeded"
    reader.close()
    writer.close()


def test_what_cannot_be_indexed_cannot_be_read(workspace, monkeypatch):
    with sqlite3.connect(workspace.directory / FILE) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if name.startswith("v4_"):
                connection.execute(f"DROP TABLE {name}")
    connection.close()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(WorkspaceError, match=r"has yet to make its index there. Check that the directory can be wr"):
        Workspace(workspace.directory)


def test_a_url_is_refused_with_the_way_out():
    with pytest.raises(WorkspaceError, match=r"No plugin opens a workspace at gs://.*file://"):
        Workspace("gs://team/workspace")


def test_a_network_filesystem_is_refused(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda / ext4 rw 0 0\nserver:/home /home/our\\040team nfs4 rw 0 0\n")
    check_local(Path("/home/own"), mounts)
    check_local(Path("/home/our team/ws"), tmp_path / "none")
    with pytest.raises(WorkspaceError, match=r"network filesystem \(nfs4\).*file:///home"):
        check_local(Path("/home/our team/ws"), mounts)


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / FILE).write_text("not a database, but long enough to be mistaken for one" * 20)
    with pytest.raises(WorkspaceError, match=r"cannot be opened: file is not a database.*backup"):
        Workspace(tmp_path)


def test_current_is_one_workspace_per_directory(project, tmp_path, monkeypatch):
    first = Workspace.current()
    assert first.directory == project / ".drystone"
    assert Workspace.current() is first
    monkeypatch.setenv("DRYSTONE_WORKSPACE", str(tmp_path / "elsewhere"))
    other = Workspace.current()
    assert other.directory == tmp_path / "elsewhere"
    first.close()
    other.close()


def test_current_is_what_stacks_py_declares(project):
    (project / "stacks.py").write_text("from drystone import Workspace\nworkspace = Workspace('ours')\n")
    current = Workspace.current()
    assert current.directory == project / "ours"
    assert Workspace.current() is current
    current.close()


def test_what_another_version_of_drystone_commits_is_seen(workspace):
    finished_run(workspace)
    with sqlite3.connect(workspace.directory / FILE, isolation_level=None) as other:
        start = RunStarted(run="p-2", number=2, pipeline="p", stack="dev", parameters={}, lock="gone")
        ledger = SQLiteLedger(other)
        ledger.append(next_commit(ledger.head(), [event_to_json(start)]))
    other.close()
    assert [run.name for run in workspace.runs()] == ["p-2", "p-1"]
    assert workspace.mark_crashed() == ["p-2"]
    assert [finding for finding in workspace.verify() if finding.kind not in ("store", "blob")] == []


def test_the_index_of_another_version_is_left_alone(workspace):
    with sqlite3.connect(workspace.directory / FILE, isolation_level=None) as other:
        other.execute("CREATE TABLE v1_runs (name TEXT)")
        other.execute("INSERT INTO v1_runs VALUES ('p-1')")
        finished_run(workspace)
        workspace.rebuild()
        assert other.execute("SELECT * FROM v1_runs").fetchall() == [("p-1",)]
    other.close()


def test_a_forked_process_opens_its_own_connection(workspace):
    finished_run(workspace)
    child = os.fork()
    if child == 0:
        finished_run(workspace)
        os._exit(0 if workspace.run("p-2").status == "succeeded" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert workspace.run("p-2").status == "succeeded"
    assert finished_run(workspace).number == 3


# Committing


def test_what_decide_raises_undoes_everything(workspace):
    def decide(view):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workspace.commit(decide)
    assert workspace.info()["commits"] == 0
    assert finished_run(workspace).number == 1


def test_nothing_to_say_is_no_commit(workspace):
    assert workspace.commit(lambda view: []) is None
    assert workspace.info()["commits"] == 0


def test_a_commit_inside_another_is_refused_and_breaks_nothing(workspace):
    def decide(view):
        with pytest.raises(WorkspaceError, match="cannot begin inside another"):
            workspace.create_model_version("inner")
        return [ModelVersionCreated(model="outer", number=1)]

    workspace.commit(decide)
    assert [model.name for model in workspace.models()] == ["outer"]
    with workspace.reading() as records:
        with pytest.raises(WorkspaceError, match="while a workspace is being read"):
            workspace.tag(workspace.model_version("outer", 1), "good")
        assert records.index.count("model") == 1
    workspace.tag(workspace.model_version("outer", 1), "good")


def test_what_cannot_be_read_is_named(workspace):
    finished_run(workspace)
    with sqlite3.connect(workspace.directory / FILE) as connection:
        connection.execute("UPDATE v4_documents SET body = CAST(x'ff' AS TEXT)")
    connection.close()
    with pytest.raises(WorkspaceError, match=r"cannot be read: Could not decode.*is damaged, restore it"):
        workspace.run("p-1")
    workspace.rebuild()
    assert workspace.run("p-1").status == "succeeded"


def test_a_refused_event_undoes_the_commit(workspace):
    saved = ArtifactSaved(name="x", version=7, kind="data", manifest=manifest())
    with pytest.raises(WorkspaceError, match="number 1, so 7"):
        workspace.commit(lambda view: [saved])
    assert workspace.info()["commits"] == 0
    assert workspace.verify() == []


def test_threads_share_a_workspace(workspace):
    threads = [threading.Thread(target=lambda: [finished_run(workspace) for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.number for run in workspace.runs()) == list(range(1, 21))


def _commit_many(directory, barrier, times):
    barrier.wait()
    workspace = Workspace(directory)
    for _ in range(times):
        finished_run(workspace)


def test_eight_processes_commit_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)
    processes = [context.Process(target=_commit_many, args=(tmp_path, barrier, 25)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 8
    workspace = Workspace(tmp_path)
    assert sorted(run.number for run in workspace.runs(limit=None)) == list(range(1, 201))
    assert sorted(version.version for version in workspace.artifacts(limit=None)) == list(range(1, 201))
    assert [finding for finding in workspace.verify() if finding.kind not in ("store", "blob")] == []
    workspace.close()


def test_the_author_is_who_the_environment_says(workspace, monkeypatch):
    monkeypatch.setenv("DRYSTONE_AUTHOR", "ada@example.org")
    assert workspace.commit(lambda view: [ModelVersionCreated(model="m", number=1)]).author == "ada@example.org"
    commit = workspace.commit(lambda view: [ModelVersionCreated(model="m", number=2)], author="bob@example.org")
    assert commit.author == "bob@example.org"


# Crashes

DRIVER = """
import os, sys
from drystone.events import RunStarted, StepStarted
from drystone.workspaces import RunLock, Workspace
workspace = Workspace.current()
lock = RunLock(workspace.directory)
assert lock.acquire()
start = RunStarted(run="p-1", number=1, pipeline="p", stack="dev", parameters={}, lock=lock.name, steps=("a", "b"))
workspace.commit(lambda view: [start])
workspace.commit(lambda view: [StepStarted(run="p-1", step="a", attempt=1, key="k", inputs={"n": ("x", 1)})])
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_killed_driver_is_marked_at_the_next_touch(workspace, project):
    with subprocess.Popen([sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        assert driver.stdout.readline() == b"ready\n"
        assert Workspace.current().run("p-1").status == "running"
        driver.send_signal(signal.SIGKILL)
        driver.wait(30)
        run = Workspace.current().run("p-1")
    assert run.status == "crashed"
    assert "drystone resume p-1" in run.error
    assert {name: step.status for name, step in run.steps.items()} == {"a": "crashed", "b": "pending"}
    assert run.executed == 1
    assert run.ended_at is not None
    assert workspace.mark_crashed() == []
    assert workspace.verify() == []


def test_a_live_run_is_left_alone(workspace):
    lock = RunLock(workspace.directory)
    with lock:
        start = RunStarted(run="p-1", number=1, pipeline="p", stack="dev", parameters={}, lock=lock.name)
        workspace.commit(lambda view: [start])
        assert workspace.mark_crashed() == []
        again = Workspace(workspace.directory)
        assert again.run("p-1").status == "running"
        again.close()
        child = os.fork()
        if child == 0:  # whoever is forked from the driver does not keep the run alive, nor ends it
            os._exit(0 if workspace.mark_crashed() == [] else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert not lock.is_free()
    assert not lock.path.exists()
    assert workspace.mark_crashed() == ["p-1"]


def test_a_lock_has_one_holder(tmp_path):
    lock = RunLock(tmp_path, "one")
    with lock:
        assert not RunLock(tmp_path, "one").acquire()
        with pytest.raises(BlockingIOError, match="is taken"), RunLock(tmp_path, "one"):
            pass
        assert not lock.is_free()
    assert lock.is_free()
    lock.release()


# Records


def test_a_run_has_its_steps_in_order(workspace):
    run = finished_run(workspace, model="m")
    assert isinstance(run, Run)
    assert list(run.steps) == ["a", "b"]
    assert (run.steps["a"].status, run.steps["b"].status) == ("succeeded", "pending")
    assert run.output == workspace.artifact("x")
    assert run.steps["a"].outputs == {"output": run.output}
    assert run.output.produced_by == ("p-1", "a")
    assert run.steps["a"].metadata == {"auc": 0.5}
    assert run.model_version == workspace.model_version("m")
    assert run.model_version.runs == ("p-1",)
    assert run.author == "tester@example.org"


def test_runs_are_filtered(workspace):
    one, two = finished_run(workspace), finished_run(workspace, "q", status="failed", model="m")
    workspace.tag(one, "weekly", env="dev")
    assert [run.name for run in workspace.runs()] == ["q-1", "p-1"]
    assert [run.name for run in workspace.runs(limit=1)] == ["q-1"]
    assert [run.name for run in workspace.runs(pipeline="p")] == ["p-1"]
    assert [run.name for run in workspace.runs(status="failed")] == ["q-1"]
    assert [run.name for run in workspace.runs(model=Model("m"))] == ["q-1"]
    assert [run.name for run in workspace.runs(tag="weekly")] == ["p-1"]
    assert [run.name for run in workspace.runs(tag="env=dev")] == ["p-1"]
    assert workspace.runs(tag="env=prod") == workspace.runs(tag="%") == []
    assert two.steps["a"].inputs["n"].version == 1


def test_the_runs_of_a_model_version_stand_in_their_order(workspace):
    finished_run(workspace, model="m")
    for number in range(1, 12):
        start = RunStarted(run=f"q-{number}", number=number, pipeline="q", stack="dev", parameters={}, model="m")
        end = RunFinished(run=f"q-{number}", status="succeeded", model_version=("m", 1))
        workspace.commit(lambda view, start=start, end=end: [start, end, end])
    assert workspace.model_version("m").runs == ("p-1", *(f"q-{number}" for number in range(1, 12)))


def test_an_unknown_run_is_answered_with_the_nearest(workspace):
    finished_run(workspace, "training")
    with pytest.raises(NotFoundError, match="Did you mean 'training-1'"):
        workspace.run("trainin-1")


def test_what_is_no_text_names_nothing(workspace):
    run = finished_run(workspace)
    questions = (
        lambda: workspace.run("p\udcff"),
        lambda: workspace.artifact("x\udcff"),
        lambda: workspace.runs(tag="good\udcff"),
        lambda: workspace.tag(run, "good\udcff"),
    )
    for ask in questions:
        with pytest.raises(NotFoundError, match=r"\\udcff.* is no text, so nothing here is called or tagged like that"):
            ask()
    assert workspace.info()["commits"] == 1


def test_the_newest_result_of_a_key_is_found(workspace):
    finished_run(workspace)
    with workspace.reading() as records:
        found = records.cached_step("k1")
        assert records.cached_step("other") is None
    assert (found.run, found.name, found.metadata) == ("p-1", "a", {"auc": 0.5})
    assert found.outputs == {"output": workspace.artifact("x")}
    assert found == workspace.run("p-1").steps["a"]


def test_the_last_execution_of_a_step_is_found(workspace):
    finished_run(workspace)
    finished_run(workspace)
    with workspace.reading() as records:
        last = records.index.last_execution("p", "a")
        assert [last[name] for name in ("run", "key", "closure", "values")] == ["p-2", "k2", "c", {"n": "1"}]
        assert last["inputs"] == {"n": ["x", 1]}
        assert records.index.last_execution("p", "b") is None
        assert records.index.last_execution("q", "a") is None


def test_code_and_sources_are_kept(workspace):
    members = {"flights.features.scale": "d1"}
    workspace.commit(
        lambda view: [
            CodeRecorded(closure="c", members=members, python="3.11", packages={"pandas": "2.2"}),
            SourceRecorded(digest="d1", name="flights.features.scale", text="def scale(): ..."),
        ]
    )
    with workspace.reading() as records:
        index = records.index
        assert index.get("code", "c") == {"members": members, "python": "3.11", "packages": {"pandas": "2.2"}}
        assert index.get("source", "d1") == {"name": "flights.features.scale", "text": "def scale(): ..."}
        assert [index.exists("code", "c"), index.exists("source", "d2")] == [True, False]


def test_parameters_are_kept_as_they_were_given(workspace):
    parameters = {"depth": 8, "days": {"$": "tuple", "v": [1, 2]}}
    start = RunStarted(run="p-1", number=1, pipeline="p", stack="dev", parameters=parameters)
    workspace.commit(lambda view: [start])
    assert workspace.run("p-1").parameters == parameters


def test_a_checkpoint_leaves_nothing_in_the_log(workspace):
    finished_run(workspace)
    workspace.checkpoint()
    with sqlite3.connect(f"file:{workspace.directory / FILE}?immutable=1", uri=True) as connection:
        assert connection.execute("SELECT count(*) FROM commits").fetchone() == (1,)
    connection.close()


def test_lineage_goes_both_ways(workspace):
    for _ in range(3):
        finished_run(workspace)
    tree = workspace.lineage(workspace.artifact("x", 2))
    assert tree["artifact"] == "x@2"
    assert tree["produced_by"]["run"] == "p-2"
    assert tree["produced_by"]["inputs"]["n"]["artifact"] == "x@1"
    assert [use["run"] for use in tree["used_by"]] == ["p-3"]
    assert tree["used_by"][0]["outputs"]["output"]["artifact"] == "x@3"


def test_lineage_does_not_repeat_what_came_from_the_cache(workspace):
    for number, status in enumerate(["succeeded", *["cached"] * 9], 1):
        run, events = f"p-{number}", []
        for step in range(1, 7):
            if number == 1:
                facts = {"run": run, "step": f"s{step}", "output": "output"}
                events.append(ArtifactSaved(name=f"x{step}", version=1, kind="data", manifest=manifest(), **facts))
            pairs = {"inputs": {"n": (f"x{step - 1}", 1)}, "outputs": {"output": (f"x{step}", 1)}}
            events.append(StepFinished(run=run, step=f"s{step}", status=status, **pairs))
        start = RunStarted(run=run, number=number, pipeline="p", stack="dev", parameters={})
        workspace.commit(lambda view, events=events, start=start: [start, *events])
    text = str(workspace.lineage(workspace.artifact("x1")))
    assert text.count("x6@1") == 10
    assert len(text) < 20_000


# Artifacts


def test_a_saved_value_comes_back(workspace):
    first = workspace.save_artifact({"a": (1, 2)}, "thing", tags={"env": "dev"}, metadata={"source": Path("/a")})
    assert (first.version, first.kind, first.tags) == (1, "data", {"env": "dev"})
    assert first.metadata == {"length": 1, "source": "/a"}
    assert first.load() == workspace.load_artifact("thing") == {"a": (1, 2)}
    assert workspace.save_artifact([], "thing", kind="model").version == 2
    assert [version.version for version in workspace.artifacts(name="thing")] == [2, 1]
    assert [version.version for version in workspace.artifacts(tag="env=dev")] == [1]
    assert [version.version for version in workspace.artifacts(kind="model")] == [2]
    assert workspace.artifact("thing", "1") == first
    assert workspace.verify() == []


def test_saving_and_loading_use_the_current_workspace(workspace):
    assert save_artifact(1, "n").version == 1
    assert load_artifact("n") == Artifact("n").latest.load() == Artifact("n").version(1).load() == 1


def test_unknown_artifacts_are_answered_with_what_there_is(workspace):
    workspace.save_artifact(1, "flight_features")
    with pytest.raises(NotFoundError, match="Did you mean 'flight_features'"):
        workspace.artifact("flight_feature")
    with pytest.raises(NotFoundError, match=r"no version 7. Its newest is 1"):
        workspace.artifact("flight_features", 7)
    for version in ("production", "²", 0, -1):
        with pytest.raises(NotFoundError, match=r"has no version .*Its newest is 1"):
            workspace.artifact("flight_features", version)


def test_a_step_uses_its_own_ways_to_the_workspace(workspace):
    class Collector:
        def save_artifact(self, value, name, **options):
            return value, name, options

        def load_artifact(self, name, version):
            return name, version

    token = active.set(StepContext(run="p-1", pipeline="p", step="a", effects=Collector()))
    try:
        assert save_artifact(1, "n", kind="model") == (1, "n", {"kind": "model"})
        assert load_artifact("n", 3) == ("n", 3)
        with pytest.raises(StepContextError, match="Step 'a' tries to use the workspace"):
            Workspace.current()
        with pytest.raises(StepContextError, match="on_success="):
            workspace.promote("m", 1, "production")
    finally:
        active.reset(token)


def test_a_store_that_is_out_of_reach_is_named(workspace):
    finished_run(workspace)
    with pytest.raises(NotFoundError, match="local:1 is out of reach"):
        workspace.artifact("x").load()


def test_logs_are_read_and_checked(workspace):
    workspace.save_artifact(1, "n")
    store = workspace.store_for(workspace.artifact("n").manifest.store)
    digest = store_bytes(store, b"said \xff")
    assert workspace.read_log(digest, store.identity) == "said \ufffd"
    store.delete(blob_key(digest))
    with pytest.raises(BlobLostError, match="missing or damaged"):
        workspace.read_log(digest, store.identity)


def test_references_mean_what_is_linked(workspace):
    run = finished_run(workspace, model="m")
    version = workspace.model_version("m")
    with pytest.raises(NotFoundError, match=r"m has no artifact 'x'. Linked to it: nothing"):
        workspace.resolve(Model("m").artifact("x"))
    workspace.link(version, run.output)
    finished_run(workspace, model="m")
    assert workspace.resolve(Artifact("x").latest).version == 2
    assert workspace.resolve(Model("m").artifact("x")) == run.output
    assert workspace.resolve(Model("m").version(1).artifact("x")) == run.output
    assert workspace.resolve(Reference("x", 1, ("m", "shared"))) == run.output
    with pytest.raises(NotFoundError, match="m@2 has no artifact 'x'"):
        workspace.resolve(Model("m").version("latest").artifact("x"))
    with pytest.raises(NotFoundError, match="no version, name or stage 'production'"):
        workspace.resolve(Model("m").version("production").artifact("x"))


# Tags and metadata


def test_tags_and_metadata_stay_with_every_kind_of_record(workspace):
    run = finished_run(workspace, model="m")
    for record in (run, run.steps["a"], run.output, run.model_version, workspace.models()[0]):
        workspace.tag(record, "good", env="dev")
        workspace.untag(record, "good")
        workspace.log_metadata(record, {"auc": 0.9})
    run, (model,) = workspace.run(run.name), workspace.models()
    records = (run, run.steps["a"], run.output, run.model_version, model)
    assert [record.tags for record in records] == [{"env": "dev"}] * 5
    assert [record.metadata for record in records] == [{"auc": 0.9}] * 5
    assert workspace.model_versions("m", tag="env=dev") == [run.model_version]
    assert [model.name for model in workspace.models(tag="env")] == ["m"]


def test_what_is_not_there_cannot_be_noted_of(workspace):
    run = finished_run(workspace)
    for record, name in ((Model("other"), "model 'other'"), (run.steps["b"], "step 'p-1/b'")):
        with pytest.raises(NotFoundError, match=f"The {name} is not in this workspace"):
            workspace.tag(record, "good")
        with pytest.raises(NotFoundError, match="A step is there once it has begun"):
            workspace.log_metadata(record, {"good": 1})
    assert workspace.info()["commits"] == 1


def test_tags_are_found_by_text_and_by_number(workspace):
    for value in (1, "1", "one"):
        workspace.save_artifact(value, "n", tags={"depth": value})
    assert [version.version for version in workspace.artifacts(tag="depth=1")] == [2, 1]
    assert [version.version for version in workspace.artifacts(tag="depth=one")] == [3]


def test_what_has_no_tags_is_refused(workspace):
    with pytest.raises(TypeError, match=r"A str has no tags or metadata here. What has: Run"):
        workspace.tag("p-1", "good")


def test_metadata_that_cannot_be_kept_changes_nothing(workspace):
    run = finished_run(workspace)
    with pytest.raises(TypeError, match="Nothing was logged"):
        workspace.log_metadata(run, {"good": 1, "bad": object()})
    assert workspace.run(run.name).metadata == {}


# Verifying


def test_verify_names_what_is_wrong_with_blobs(workspace):
    workspace.save_artifact("kept", "kept")
    lost, damaged = workspace.save_artifact("lost", "lost"), workspace.save_artifact("damaged", "damaged")
    store = workspace.store_for(lost.manifest.store)
    store.delete(blob_key(lost.manifest.blobs[0].digest))
    store.local_path(blob_key(damaged.manifest.blobs[0].digest)).write_text("DAMAGED")
    found = {finding.subject: finding for finding in workspace.verify()}
    assert set(found) == {"lost@1", "damaged@1"}
    assert "missing" in found["lost@1"].message
    assert "damaged" in found["damaged@1"].message
    assert "Run the pipeline again" in found["lost@1"].remedy


@pytest.mark.parametrize(
    ("change", "kind", "subject"),
    [
        ("UPDATE commits SET body = replace(body, 'tester', 'someone') WHERE seq = 2", "commit", "2"),
        ("DELETE FROM commits WHERE seq = 2", "commit", "3"),
        ("DELETE FROM commits WHERE seq = 3", "commit", "3"),
        ("UPDATE v4_documents SET status = 'failed' WHERE name = 'p-1'", "index", "v4_documents"),
        ("DELETE FROM v4_documents WHERE name = 'x@2'", "index", "v4_documents"),
        ("UPDATE v4_documents SET body = 'no JSON' WHERE name = 'x@2'", "index", "v4_documents"),
        ("UPDATE v4_documents SET body = CAST(x'ff' AS TEXT) WHERE name = 'x@2'", "index", "v4_documents"),
        ("DELETE FROM v4_links", "index", "v4_links"),
        ("UPDATE commits SET body = CAST(x'ff' AS TEXT) WHERE seq = 2", "commit", "2"),
        ("UPDATE commits SET body = '[' WHERE seq = 3", "commit", "3"),
    ],
)
def test_verify_names_what_is_wrong_with_commits_and_index(workspace, change, kind, subject):
    for _ in range(3):
        finished_run(workspace)
    with sqlite3.connect(workspace.directory / FILE) as connection:
        connection.execute(change)
    connection.close()
    found = [finding for finding in workspace.verify() if finding.kind not in ("store", "blob")]
    assert [(finding.kind, finding.subject) for finding in found] == [(kind, subject)]


def test_a_damaged_index_is_made_anew(workspace):
    runs = [finished_run(workspace) for _ in range(3)]
    with sqlite3.connect(workspace.directory / FILE) as connection:
        connection.execute("DELETE FROM v4_documents WHERE kind = 'run'")
    connection.close()
    assert workspace.runs() == []
    workspace.rebuild()
    assert workspace.runs() == runs[::-1]


def test_a_lost_end_of_the_ledger_stops_everything(workspace):
    finished_run(workspace)
    finished_run(workspace)
    with sqlite3.connect(workspace.directory / FILE) as connection:
        connection.execute("DELETE FROM commits WHERE seq = 2")
    connection.close()
    with pytest.raises(LedgerDamagedError, match="missing or altered"):
        finished_run(workspace)
    again = Workspace(workspace.directory)
    with pytest.raises(LedgerDamagedError, match="workspace verify"):
        again.runs()
    assert [finding.subject for finding in again.verify() if finding.kind == "commit"] == ["2"]
    again.rebuild()
    assert [run.name for run in workspace.runs()] == ["p-1"]
    assert finished_run(workspace).number == 2
    again.close()


def test_records_come_back_from_a_pickle_with_what_answers_for_them(workspace):
    finished_run(workspace)
    run = workspace.runs()[0]
    again = pickle.loads(pickle.dumps(run))
    assert again == run
    assert {name: each.logs() for name, each in again.steps.items()} == {n: e.logs() for n, e in run.steps.items()}
    strict = Workspace(workspace.directory, allow_pickle=False)
    copy = pickle.loads(pickle.dumps(strict))
    assert (copy.directory, copy.allow_pickle) == (strict.directory, False)
    copy.close(), strict.close()
