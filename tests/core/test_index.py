"""The index is what the ledger says: replaying gives the same, numbers are dense, and a stage has one holder."""

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drystone.artifacts import Blob, Manifest
from drystone.errors import FormatError, LedgerDamagedError, WorkspaceError
from drystone.events import (
    ArtifactSaved,
    CodeRecorded,
    Linked,
    MetadataLogged,
    ModelDeclared,
    ModelVersionCreated,
    RunClaimed,
    RunFinished,
    RunStarted,
    SourceRecorded,
    StageMoved,
    StepFinished,
    StepStarted,
    Tagged,
    Untagged,
    event_to_json,
)
from drystone.index import Index
from drystone.ledgers import SQLiteLedger, next_commit


class Store:
    """A ledger and its index in memory."""

    def __init__(self):
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.ledger, self.index = SQLiteLedger(self.connection), Index(self.connection)
        self.ledger.create()
        self.index.create()

    def commit(self, *events):
        raw = [event if isinstance(event, dict) else event_to_json(event) for event in events]
        commit = next_commit(self.ledger.head(), raw, author="a")
        self.ledger.append(commit)
        self.index.apply(commit)


@pytest.fixture
def store():
    made = Store()
    yield made
    made.connection.close()


def manifest(digest="d"):
    blobs = (Blob("value.json", "b" * 64, 3),)
    return Manifest(
        digest=digest, type="int", materializer="json", materializer_version=1, blobs=blobs, store="local:1"
    )


def saved(name, version, **facts):
    return ArtifactSaved(name=name, version=version, kind="data", manifest=manifest(), **facts)


def started(pipeline, number, **facts):
    run = f"{pipeline}-{number}"
    return RunStarted(run=run, number=number, pipeline=pipeline, stack="dev", parameters={}, **facts)


NAMES = st.sampled_from(["a", "b", "c"])
STAGES = st.sampled_from(["staging", "production"])
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["run", "step", "finish", "claim", "save", "version", "link", "move", "tag", "meta", "code"]),
        NAMES,
        STAGES,
        st.integers(1, 4),
    ),
    max_size=40,
)


def events_of(view, operation, name, stage, number):
    """What an operation means now; nothing where it makes no sense yet."""
    run = f"{name}-{view.last_number('run', name)}"
    known = view.exists("run", run)
    versions = view.last_number("model_version", name)
    if operation == "run":
        return [started(name, view.next_number("run", name), model=name, tags={"env": stage}, steps=("a", "b"))]
    if operation == "step" and known:
        saving = saved("x", view.next_number("artifact", "x"), run=run, step=name, output="output", tags={name: number})
        start = StepStarted(run=run, step=name, attempt=number, key=stage)
        done = StepFinished(
            run=run,
            step=name,
            status=["succeeded", "failed", "cached", "skipped"][number - 1],
            attempts=number,
            key=stage,
            inputs={"i": ("x", number)},
            outputs={"output": ("x", saving.version)},
        )
        return [start] if stage == "staging" and number == 1 else [start, saving, done]
    if operation == "finish" and known:
        status = ["succeeded", "failed", "cancelled", "crashed"][number - 1]
        return [RunFinished(run=run, status=status, model_version=(name, number), metadata={"n": number})]
    if operation == "claim" and known:
        return [RunClaimed(run=run, epoch=view.epoch(run) + 1, host="h", pid=1, lock=stage)]
    if operation == "save":
        return [saved(name, view.next_number("artifact", name))]
    if operation == "version":
        made = ModelVersionCreated(model=name, number=versions + 1, name=stage, run=run, tags={"n": number})
        return [ModelDeclared(model=name, description=stage), made]
    if operation == "link":
        return [Linked(model=name, number=number if number < 3 else None, artifact="x", version=number, role="input")]
    if operation == "move" and versions:
        target = None if number == 4 else min(number, versions)
        previous = view.stages(name).get(stage)
        return [StageMoved(model=name, stage=stage, number=target, previous=previous, action="promote")]
    if operation == "tag":
        tagged = Tagged(kind="run", record=run, tags={"t": number, stage: True})
        return [tagged, Untagged(kind="run", record=run, tags=("t",))] if number % 2 else [tagged]
    if operation == "meta":
        record = {"run": run, "step": f"{run}/a", "artifact": "x@1", "model": name, "model_version": f"{name}@1"}
        return [MetadataLogged(kind=kind, record=each, values={stage: number}) for kind, each in record.items()]
    if operation == "code":
        code = CodeRecorded(closure=name, members={"f": stage}, python="3.11", packages={})
        return [code, SourceRecorded(digest=stage, name="f", text="def f(): ...")]
    return []


@settings(max_examples=60, deadline=None)
@given(OPERATIONS, st.integers(0, 40))
def test_an_index_made_anew_is_the_same(operations, pause):
    store = Store()
    for operation in operations:
        store.commit(*events_of(store.index, *operation))
    grown = store.index.dump()
    store.index.clear()
    assert store.index.position() == (0, "")
    for commit in list(store.ledger.read())[:pause]:
        store.index.apply(commit)
    store.index.catch_up(store.ledger)
    assert store.index.dump() == grown
    assert_laws(store)
    store.connection.close()


def assert_laws(store):
    """Numbers are dense and unique; a stage has one holder; who holds one is not archived."""
    numbered = (
        "SELECT kind, parent, count(*), max(number) FROM v2_documents WHERE number IS NOT NULL GROUP BY kind, parent"
    )
    assert all(count == highest for _, _, count, highest in store.connection.execute(numbered))
    for model in store.index.names("model"):
        last = {move["stage"]: move["number"] for move in store.index.moves(model)}
        holders = {stage: number for stage, number in last.items() if number is not None}
        assert store.index.stages(model) == holders


def test_numbers_count_up_by_name(store):
    assert store.index.next_number("artifact", "x") == 1
    store.commit(saved("x", 1), saved("y", 1), saved("x", 2))
    assert (store.index.next_number("artifact", "x"), store.index.next_number("artifact", "y")) == (3, 2)


@pytest.mark.parametrize("number", [1, 3])
def test_a_number_that_is_not_the_next_is_refused(store, number):
    store.commit(saved("x", 1))
    with pytest.raises(WorkspaceError, match=f"next artifact of 'x' has number 2, so {number}"):
        store.commit(saved("x", number))


def test_a_first_number_is_one(store):
    with pytest.raises(WorkspaceError, match="has number 1, so 2"):
        store.commit(saved("x", 2))


def test_unknown_events_are_skipped_unless_critical(store):
    unknown = {"type": "lease.taken", "v": 1, "critical": False}
    store.commit(unknown, saved("x", 1))
    assert store.index.next_number("artifact", "x") == 2
    with pytest.raises(FormatError):
        store.commit({**unknown, "critical": True})


def test_a_ledger_that_lost_its_end_is_refused(store):
    store.commit(saved("x", 1))
    store.commit(saved("x", 2))
    store.connection.execute("DELETE FROM commits WHERE seq = 2")
    with pytest.raises(LedgerDamagedError, match="ends with commit 1, but commit 2 was there"):
        store.index.catch_up(store.ledger)


def test_a_ledger_that_was_swapped_is_refused(store):
    store.commit(saved("x", 1))
    other = Store()
    other.commit(saved("y", 1))
    other.commit(saved("y", 2))
    store.connection.execute("DELETE FROM commits")
    store.connection.executemany("INSERT INTO commits VALUES (?, ?, ?)", list(other.ledger.rows()))
    with pytest.raises(LedgerDamagedError, match="altered"):
        store.index.catch_up(store.ledger)
    other.connection.close()


def test_finding_a_key_reads_one_index(store):
    query = "SELECT body FROM v2_documents WHERE key = 'k' AND status = 'succeeded' ORDER BY ended DESC LIMIT 1"
    plan = [row[3] for row in store.connection.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert len(plan) == 1
    assert "INDEX v2_documents_key (key=?)" in plan[0]


def test_finding_live_runs_reads_one_index(store):
    query = "SELECT body FROM v2_documents WHERE kind = 'run' AND status = 'running' ORDER BY id"
    plan = [row[3] for row in store.connection.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert "INDEX v2_documents_running" in plan[0]
    assert len(plan) == 1


def test_finding_the_last_execution_reads_two_indices(store):
    seen = []
    store.connection.set_trace_callback(seen.append)
    store.index.last_execution("p", "a")
    plan = [row[3] for row in store.connection.execute(f"EXPLAIN QUERY PLAN {seen[0]}")]
    assert [each.partition(" USING ")[2].partition(" (")[0] for each in plan] == [
        "INDEX v2_documents_parent",
        "INDEX v2_documents_name",
    ]


def test_a_run_that_is_claimed_runs_again(store):
    store.commit(started("p", 1, steps=("a", "b")))
    store.commit(
        StepFinished(run="p-1", step="a", status="succeeded", attempts=1), StepStarted(run="p-1", step="b", attempt=1)
    )
    store.commit(RunFinished(run="p-1", status="crashed"))
    assert store.index.running() == []
    store.commit(RunClaimed(run="p-1", epoch=2, host="h", pid=1, lock="new"))
    assert [(run["name"], run["lock"]) for run in store.index.running()] == [("p-1", "new")]
    assert store.index.epoch("p-1") == 2
    assert [step["status"] for step in store.index.steps("p-1")] == ["succeeded", "pending"]


def test_links_are_found_by_model_and_by_version(store):
    store.commit(*(saved("x", number) for number in (1, 2, 3)))
    store.commit(ModelVersionCreated(model="m", number=1), ModelVersionCreated(model="m", number=2))
    store.commit(
        Linked(model="m", number=1, artifact="x", version=1),
        Linked(model="m", number=1, artifact="x", version=2, role="input"),
        Linked(model="m", number=None, artifact="x", version=3),
    )
    assert store.index.newest_linked("m", None, "x") == 3
    assert store.index.newest_linked("m", 1, "x") == 1
    assert store.index.newest_linked("m", 1, "x", 2) == 2
    assert store.index.newest_linked("m", 1, "x", 3) is None
    assert store.index.newest_linked("m", 2, "x") is None
    assert store.index.linked("m", 1) == [("output", "x", 1), ("input", "x", 2)]
    assert store.index.linked("m", None) == [("output", "x", 1), ("input", "x", 2), ("output", "x", 3)]
    assert store.index.linked("m", 2) == []
