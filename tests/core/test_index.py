"""The index is what the ledger says: replaying gives the same, numbers are dense, and a stage has one holder."""

import json
import sqlite3
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drystone.artifacts import Blob, Manifest
from drystone.audits import findings
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
from drystone.ledgers import Head, SQLiteLedger, next_commit


class Store:
    """A ledger and its index in memory."""

    def __init__(self):
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        weakref.finalize(self, self.connection.close)  # also where hypothesis gives an example up
        self.ledger, self.index = SQLiteLedger(self.connection), Index(self.connection)
        self.ledger.create()
        self.index.create()

    def commit(self, *events):
        raw = [event if isinstance(event, dict) else event_to_json(event) for event in events]
        commit = next_commit(self.ledger.head(), raw, author="a")
        self.ledger.append(commit)
        self.index.apply(commit)

    def rows(self):
        """Everything in the index."""
        return {table: sorted(self.index.rows(table), key=repr) for table in self.index.tables()}


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
        return [RunFinished(run=run, status=status, model_version=(name, number))]
    if operation == "claim" and known:
        return [RunClaimed(run=run, epoch=view.epoch(run) + 1, host="h", pid=1, lock=stage)]
    if operation == "save":
        return [saved(name, view.next_number("artifact", name))]
    if operation == "version":
        made = ModelVersionCreated(model=name, number=versions + 1, name=stage, run=run, tags={"n": number})
        return [ModelDeclared(model=name, description=stage, tags={"t": number}), made]
    if operation == "link":
        return [Linked(model=name, number=number if number < 3 else None, artifact="x", version=number, role="input")]
    if operation == "move" and versions:
        target = None if number == 4 else min(number, versions)
        previous = view.stages(name).get(stage)
        return [StageMoved(model=name, stage=stage, number=target, previous=previous, action="promote")]
    records = {"run": run, "step": f"{run}/{name}", "artifact": "x@1", "model": name, "model_version": f"{name}@1"}
    if operation == "tag":
        tagged = [Tagged(kind=kind, record=each, tags={"t": number, stage: True}) for kind, each in records.items()]
        untagged = [Untagged(kind=kind, record=each, tags=("t",)) for kind, each in records.items()]
        return [*tagged, *untagged] if number % 2 else tagged
    if operation == "meta":
        return [MetadataLogged(kind=kind, record=each, values={stage: number}) for kind, each in records.items()]
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
        assert_laws(store)
    grown = store.rows()
    store.index.clear()
    assert store.index.position() == (0, "")
    for commit in list(store.ledger.read())[:pause]:
        store.index.apply(commit)
    store.index.catch_up(store.ledger)
    assert store.rows() == grown
    assert findings(store.ledger, store.index)[0] == []
    store.connection.close()


def alter(store, seq, other):
    """Another text, of which the digest is not taken again."""
    store.connection.execute(
        'UPDATE commits SET body = replace(body, \'"author":"\', \'"author":"x\') WHERE seq = ?', (seq,)
    )


def garble(store, seq, other):
    store.connection.execute("UPDATE commits SET body = CAST(x'FF' || body AS TEXT) WHERE seq = ?", (seq,))


def lose(store, seq, other):
    store.connection.execute("DELETE FROM commits WHERE seq = ?", (seq,))


def forge(store, seq, other):
    """A commit that is whole by itself and follows the one before, but is another."""
    head = next((commit.head for commit in store.ledger.read() if commit.seq == seq - 1), Head())
    foreign = next_commit(head, [event_to_json(Tagged(kind="run", record="p-1", tags={}))], author="somebody else")
    changed = "UPDATE commits SET digest = ?, body = ? WHERE seq = ?"
    store.connection.execute(changed, (foreign.digest, foreign.body, seq))


def swap(store, seq, other):
    if seq != other:
        for before, after in ((seq, -1), (other, seq), (-1, other)):
            store.connection.execute("UPDATE commits SET seq = ? WHERE seq = ?", (after, before))


def slip_in(store, seq, other):
    """A commit of another ledger, behind the last."""
    foreign = next_commit(Head(store.index.position()[0], "elsewhere"), [], author="somebody else")
    row = (foreign.seq, foreign.digest, foreign.body)
    store.connection.execute("INSERT INTO commits VALUES (?, ?, ?)", row)


def rewrite(store, seq, other):
    """Another history from here on, in which every commit follows the one before."""
    commits = list(store.ledger.read())
    head = commits[seq - 2].head if seq > 1 else Head()
    for commit in commits[seq - 1 :]:
        again = next_commit(head, commit.events, author="somebody else")
        changed = "UPDATE commits SET digest = ?, body = ? WHERE seq = ?"
        store.connection.execute(changed, (again.digest, again.body, again.seq))
        head = again.head


DAMAGES = [alter, garble, lose, forge, swap, slip_in, rewrite]


@settings(max_examples=150, deadline=None)
@given(OPERATIONS, st.sampled_from(DAMAGES), st.data())
def test_damage_to_the_ledger_is_named_and_not_replayed(operations, damage, data):
    store = Store()
    for operation in [("save", "a", "staging", 1), *operations]:
        store.commit(*events_of(store.index, *operation))
    last = store.index.position()[0]
    seq, other = sorted((data.draw(st.integers(1, last)), data.draw(st.integers(1, last))))
    before = list(store.ledger.rows())
    damage(store, seq, other)
    if list(store.ledger.rows()) != before:
        named = {int(finding.subject) for finding in findings(store.ledger, store.index)[0]}
        first = {slip_in: last + 1, rewrite: last}.get(damage, seq)
        assert min(named) in (first, first + 1), "one that does not fit, or the one behind it"
        store.index.clear()
        if damage is not rewrite and (damage not in (lose, forge) or seq < last):  # else what is left fits together
            with pytest.raises(LedgerDamagedError):
                store.index.catch_up(SQLiteLedger(store.connection))
    store.connection.close()


def assert_laws(store):
    """Numbers are dense and unique; a stage has one holder; what is tagged is found by its tags, and only that."""
    numbered = "SELECT min(number), max(number), count(DISTINCT number), count(*) FROM v4_documents"
    for facts in store.connection.execute(f"{numbered} WHERE number IS NOT NULL GROUP BY kind, parent"):
        assert facts == (1, facts[1], facts[1], facts[1])
    bodies = list(store.connection.execute("SELECT kind, name, body FROM v4_documents"))
    tagged = [
        (kind, tag, json.dumps(value), name)
        for kind, name, body in bodies
        for tag, value in json.loads(body).get("tags", {}).items()
    ]
    assert sorted(tagged) == sorted(store.connection.execute("SELECT kind, tag, value, name FROM v4_tags"))
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


QUESTIONS = {
    "cached": (lambda index: index.cached("element", "k"), ["documents_key"]),
    "running": (lambda index: index.running(), ["documents_running"]),
    "last_execution": (lambda index: index.last_execution("p", "a"), ["documents_complete"]),
    "durations": (lambda index: index.durations("p", "a"), ["documents_complete"]),
    "version_of_run": (lambda index: index.version_of_run("m", "p-1"), ["documents_run", "documents_name"]),
    "latest": (lambda index: index.select_version("m", "latest"), ["documents_parent", "documents_name"]),
    "named": (lambda index: index.select_version("m", "baseline"), ["documents_name", "documents_name"]),
    "newest": (lambda index: index.newest_linked("m", None, "x"), ["links_name"]),
    "linked": (lambda index: index.linked("m", 3), ["PRIMARY KEY"]),
    "users": (lambda index: index.users("x", 1), ["links_name"]),
    "steps": (lambda index: index.steps("p-1"), ["documents_run"]),
    "moves": (lambda index: index.moves("m", "production"), ["documents_parent"]),
    "number": (lambda index: index.next_number("artifact", "x"), ["documents_parent"]),
    "runs": (lambda index: index.select("run", limit=50), ["documents_kind"]),
    "runs of a pipeline": (lambda index: index.select("run", {"parent": "p"}, limit=50), ["documents_parent"]),
}


@pytest.mark.parametrize(("ask", "indices"), QUESTIONS.values(), ids=QUESTIONS)
def test_no_question_reads_more_than_it_answers(store, ask, indices):
    seen = []
    store.connection.set_trace_callback(seen.append)
    ask(store.index)
    store.connection.set_trace_callback(None)
    plans = [row[3] for query in seen for row in store.connection.execute(f"EXPLAIN QUERY PLAN {query}")]
    used = [plan.partition(" USING ")[2].partition(" (")[0].rpartition("INDEX v4_")[2] for plan in plans]
    assert used == indices


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


def test_a_claimed_run_is_where_its_new_driver_is(store):
    store.commit(started("p", 1, host="h", pid=1, lock="old"))
    store.commit(RunClaimed(run="p-1", epoch=2, host="g", pid=2, lock="new"))
    run = store.index.get("run", "p-1")
    assert [run[fact] for fact in ("host", "pid", "lock")] == ["g", 2, "new"]


NEW = (("new", "never ran here", ""),)


def test_what_an_earlier_driver_left_of_a_step_does_not_count(store):
    facts = {"run": "p-1", "step": "a", "key": "k"}
    failed = StepFinished(**facts, status="failed", attempts=3, error="E", log="l", store="s", metadata={"auc": 0.1})
    store.commit(started("p", 1, steps=("a",)), StepStarted(**facts, causes=NEW, attempt=3), failed)
    store.commit(Tagged(kind="step", record="p-1/a", tags={"odd": True}), RunFinished(run="p-1", status="failed"))
    store.commit(RunClaimed(run="p-1", epoch=2, host="h", pid=1, lock="new"))
    pending = {"name": "a", "run": "p-1", "status": "pending", "tags": {"odd": True}, "metadata": {}}
    assert store.index.steps("p-1") == [pending]
    store.commit(MetadataLogged(kind="step", record="p-1/a", values={"seen": 1}))
    store.commit(StepFinished(**facts, status="cached", cached_from="q-1", outputs={"output": ("x", 1)}))
    (step,) = store.index.steps("p-1")
    names = ("status", "attempts", "error", "log", "store", "causes", "metadata", "tags", "started_at")
    assert [step.get(name) for name in names] == ["cached", 0, None, None, "", [], {"seen": 1}, {"odd": True}, None]


def test_a_step_keeps_what_was_noted_while_it_ran(store):
    facts = {"run": "p-1", "step": "a", "key": "k", "causes": NEW, "inputs": {"i": ("x", 1)}}
    store.commit(started("p", 1, steps=("a",)), StepStarted(**facts))
    store.commit(MetadataLogged(kind="step", record="p-1/a", values={"seen": 1, "auc": 0}))
    store.commit(Tagged(kind="step", record="p-1/a", tags={"slow": True}))
    begun = store.index.steps("p-1")[0]["started_at"]
    store.commit(StepStarted(**facts, attempt=2))
    done = StepFinished(run="p-1", step="a", status="succeeded", attempts=2, metadata={"auc": 0.5}, deterministic=False)
    store.commit(done)
    (step,) = store.index.steps("p-1")
    assert (step["tags"], step["metadata"]) == ({"slow": True}, {"seen": 1, "auc": 0.5})
    names = ("started_at", "attempts", "key", "causes", "inputs", "deterministic")
    assert [step[name] for name in names] == [begun, 2, "k", [["new", "never ran here", ""]], {"i": ["x", 1]}, False]


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
