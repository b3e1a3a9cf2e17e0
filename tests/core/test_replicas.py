"""A copy of a shared ledger says the truth, or says how old it is; nothing is committed twice, or by who may not."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drystone import Workspace, hookimpl, load_plugins
from drystone.checkpoints import usable
from drystone.copies import copy_workspace
from drystone.databases import FILE
from drystone.errors import (
    CommitUnclearError,
    LedgerConflict,
    LedgerDamagedError,
    NotFoundError,
    StageError,
    StaleWarning,
    WorkspaceAccessError,
    WorkspaceError,
    WorkspaceUnreachableError,
)
from drystone.events import ModelVersionCreated, StageMoved, Tagged, event_to_json
from drystone.ledgers import Commit, Head, next_commit
from drystone.replicas import LOSSES, Replica
from drystone.testing import MemoryLedger

SILENT = "shelf://team does not answer."


class Shelf(MemoryLedger):
    """A ledger that can be cut off, and counts what it is asked.

    Attributes:
        away: Whether it answers nobody.
        after: What is called behind an append that has succeeded, and may raise.
        before: What is called before one.
        asked: The names of its methods, as they were called.
    """

    def __init__(self) -> None:
        super().__init__("shelf://team")
        self.away = False
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None
        self.asked: list[str] = []
        self.may_promote = True

    def _ask(self, name: str) -> None:
        self.asked.append(name)
        if self.away:
            raise WorkspaceUnreachableError(SILENT)

    def read(self, after: int = 0) -> Iterator[Commit]:
        self._ask("read")
        return super().read(after)

    def append(self, commit: Commit) -> None:
        self._ask("append")
        self.before()
        super().append(commit)
        self.after()

    def now(self) -> float:
        self._ask("now")
        return super().now()

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        self._ask(f"lease {name}")
        return super().lease(name, holder, seconds)

    def probe(self) -> None:
        self._ask("probe")

    def grant(self, commit: Commit) -> None:
        self._ask("grant")
        if not self.may_promote:
            raise WorkspaceAccessError("shelf://team forbids this.")
        super().grant(commit)

    def is_granted(self, commit: Commit) -> bool:
        self._ask("is_granted")
        return super().is_granted(commit)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def team(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Workspace]]:
    """Opens the shared workspace as somebody with another home."""

    class Offer:
        @hookimpl
        def drystone_ledgers(self) -> dict[str, Callable[[str], Any]]:
            return {"shelf": lambda url: shelf}

    opened: list[Workspace] = []

    def open_as(who: str) -> Workspace:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / who))
        opened.append(Workspace("shelf://team"))
        return opened[-1]

    with load_plugins().observed(Offer(), "shelf"):
        yield open_as
    for each in opened:
        each.close()


Team = Callable[[str], Workspace]


def file_of(workspace: Workspace) -> Path:
    return workspace.directory / FILE


def replica(workspace: Workspace) -> Replica:
    assert isinstance(workspace._database, Replica)
    return workspace._database


def rows(workspace: Workspace) -> dict[str, list[str]]:
    with workspace.reading() as records:
        index = records.index
        return {table: sorted(map(repr, index.rows(table))) for table in index.tables()}


# Committing


def test_a_commit_is_one_round_trip_where_nobody_else_committed(team: Team, shelf: Shelf) -> None:
    ann = team("ann")
    ann.create_model_version("m")
    shelf.asked.clear()
    ann.commit(lambda view: [ModelVersionCreated(model="m", number=view.next_number("model_version", "m"))])
    assert shelf.asked == ["append"]


def test_a_commit_on_an_old_view_is_decided_again(team: Team) -> None:
    ann, ben = team("ann"), team("ben")
    seen = []

    def decide(view: Any) -> list[Any]:
        seen.append(view.next_number("model_version", "m"))
        return [ModelVersionCreated(model="m", number=seen[-1])]

    ann.create_model_version("m")
    ben.commit(decide)
    assert seen == [1, 2]
    assert ann.verify() == ben.verify() == []


def test_what_is_refused_on_an_old_view_is_looked_at_anew(team: Team) -> None:
    """Neither is a stage refused for a version that is new elsewhere, nor is a promotion left out that is undone."""
    ann, ben = team("ann"), team("ben")
    for _ in range(2):
        ann.create_model_version("m")
    ben.promote("m", 2, "production")
    ann.promote("m", 1, "production")
    ben.promote("m", 2, "production")
    assert ann.model_version("m", "production").number == 2
    ann.promote("m", 1, "production")
    with pytest.raises(StageError, match="held by m@1, not by m@2"):
        ben.promote("m", 2, "production", expect=2)
    with pytest.raises(NotFoundError):
        ben.promote("m", 3, "production")


def test_what_cannot_be_entered_is_not_given_to_others(team: Team, shelf: Shelf) -> None:
    ann = team("ann")
    with pytest.raises(WorkspaceError, match="has number 1, so 7 cannot be recorded"):
        ann.commit(lambda view: [ModelVersionCreated(model="m", number=7)])
    assert shelf.head() == Head()


def test_nobody_waits_for_the_ledger_with_a_lock_on_this_machine(team: Team, shelf: Shelf) -> None:
    """While a commit is on its way, another thread reads and another process could write."""
    ann = team("ann")
    ann.create_model_version("m")
    states = []

    def look() -> None:
        connection = sqlite3.connect(file_of(ann), timeout=0, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        connection.close()
        reading = threading.Thread(target=lambda: states.append(ann.model_version("m", 1).number))
        reading.start()
        reading.join(10)

    shelf.before = look
    ann.create_model_version("m")
    assert states == [1]


def test_a_commit_inside_another_is_refused_before_anything_is_added(team: Team, shelf: Shelf) -> None:
    ann = team("ann")
    with ann.reading(), pytest.raises(WorkspaceError, match="cannot begin inside another one"):
        ann.create_model_version("m")
    assert shelf.head() == Head()


def test_who_loses_many_races_takes_turns(team: Team, shelf: Shelf) -> None:
    ann, ben = team("ann"), team("ben")
    lost = iter(range(LOSSES + 1))

    def overtake() -> None:
        if next(lost, None) is not None:
            before, shelf.before = shelf.before, lambda: None
            ben.create_model_version("m")
            shelf.before = before

    shelf.before = overtake
    assert ann.create_model_version("m").number == LOSSES + 2
    assert shelf.asked.count("lease commit") == 1
    assert shelf.holder("commit") is None


def test_a_turn_is_not_waited_for_for_ever(team: Team, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drystone.replicas.TURN", 0.05)
    monkeypatch.setattr("drystone.replicas.LOSSES", 1)
    shelf.lease("commit", "somebody", 600)
    ann, ben, lost = team("ann"), team("ben"), iter([1])

    def overtake() -> None:
        if next(lost, None):
            ben.create_model_version("m")

    shelf.before = overtake
    assert ann.create_model_version("m").number == 2
    assert shelf.holder("commit") == "somebody"


def test_a_store_that_refuses_everything_is_told_of(team: Team, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drystone.replicas.HOPELESS", 7)

    def refuse() -> None:
        raise LedgerConflict("taken")

    shelf.before = refuse
    with pytest.raises(LedgerConflict, match=r"faster 7 times in a row\. Nothing of this was recorded\."):
        team("ann").create_model_version("m")


# Unclear answers


def test_what_was_added_although_it_failed_is_a_success(team: Team, shelf: Shelf) -> None:
    def fail() -> None:
        raise TimeoutError

    shelf.after = fail
    ann = team("ann")
    assert [ann.create_model_version("m").number for _ in range(3)] == [1, 2, 3]
    assert ann.verify() == []


def test_what_was_added_although_it_conflicts_is_a_success(team: Team, shelf: Shelf) -> None:
    """As from a client that tries again after a timeout, and finds its own commit."""

    def conflict() -> None:
        raise LedgerConflict("taken")

    shelf.after = conflict
    assert [team("ann").create_model_version("m").number for _ in range(3)] == [1, 2, 3]


def test_what_failed_and_is_not_there_is_the_error_that_it_was(team: Team, shelf: Shelf) -> None:
    def fail() -> None:
        raise TimeoutError("too slow")

    shelf.before = fail
    with pytest.raises(TimeoutError, match="too slow"):
        team("ann").create_model_version("m")
    assert shelf.head() == Head()


def test_an_answer_that_stays_unclear_is_called_so(team: Team, shelf: Shelf) -> None:
    ann = team("ann")

    def vanish() -> None:
        shelf.away = True
        raise WorkspaceUnreachableError(SILENT)

    shelf.after = vanish
    with pytest.raises(CommitUnclearError, match=r"not known whether this was recorded, as commit 1.*Look whether"):
        ann.create_model_version("m")
    shelf.away, shelf.after = False, lambda: None
    replica(ann)._freshness.is_away = False
    assert ann.create_model_version("m").number == 2, "it was"


def test_a_commit_that_is_there_but_cannot_be_kept_here_is_a_success(
    team: Team, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = team("ann")

    def full(*_: object) -> None:
        raise WorkspaceError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(replica(ann), "_enter", full)  # no disk is full when it is asked to be
        assert ann.commit(lambda view: [ModelVersionCreated(model="m", number=1)])
    assert ann.model_version("m").number == 1


# Reading


def test_while_somebody_is_patient_not_every_question_asks(team: Team, shelf: Shelf) -> None:
    ann, ben = team("ann"), team("ben")
    ann.runs()
    shelf.asked.clear()
    with ann.patient(600):
        for _ in range(5):
            assert ann.runs() == []
        assert shelf.asked == []
        ben.create_model_version("m")
        assert ann.models() == []
        ann.create_model_version("m")
        assert ann.model_version("m", "latest").number == 2, "a commit brings everything"
    ben.create_model_version("m")
    assert ann.model_version("m", "latest").number == 3


def test_two_of_one_machine_share_a_copy(team: Team) -> None:
    both = [team("ann"), team("ann")]
    for number in range(1, 9):
        assert both[number % 2].create_model_version("m").number == number
    assert rows(both[0]) == rows(both[1])
    assert both[0].verify() == []


def test_a_forked_process_opens_the_ledger_again(team: Team) -> None:
    ann = team("ann")
    ann.create_model_version("m")

    def child() -> None:
        assert ann.model_version("m", 1).number == 1
        os._exit(7)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which newer Pythons warn of
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
    process.join()
    assert process.exitcode == 7


def test_another_history_is_damage(team: Team, shelf: Shelf) -> None:
    ann = team("ann")
    ann.create_model_version("m")
    shelf._commits.clear()
    head = Head()
    for _ in range(2):
        commit = next_commit(head, [event_to_json(Tagged(kind="run", record="x", tags={}))])
        MemoryLedger.append(shelf, commit)
        head = commit.head
    with pytest.raises(LedgerDamagedError, match="altered or foreign"):
        ann.models()
    assert "not the one that was fetched before" in ann.verify()[0].message
    ann.rebuild()
    assert ann.verify() == []


# Away


def test_what_was_fetched_is_answered_with_a_mark(team: Team, shelf: Shelf) -> None:
    ann = team("ann")
    ann.create_model_version("m")
    shelf.away = True
    with pytest.warns(StaleWarning, match=r"^What follows is as old as .* 0 seconds ago: shelf://team does not answer"):
        assert ann.model_version("m", 1).number == 1
    shelf.asked.clear()
    assert ann.models(), "without a second warning"
    info = ann.info()
    assert shelf.asked == [], "nobody asks again at each question"
    assert (info["reachable"], info["lag"], info["round_trip"], info["age"]) == (False, None, None, "0 seconds ago")


def test_an_old_copy_is_opened_while_nobody_answers(team: Team, shelf: Shelf) -> None:
    team("ann").create_model_version("m")
    shelf.away = True
    with pytest.warns(StaleWarning):
        assert team("ann").model_version("m", 1).number == 1
    with pytest.raises(WorkspaceUnreachableError, match="does not answer"):
        team("ben")
    shelf.away = False
    assert team("ben").model_version("m", 1).number == 1


def test_it_is_current_again_once_somebody_answers(team: Team, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, ben = team("ann"), team("ben")
    monkeypatch.setattr("drystone.freshness.RETRY", 0.0)
    shelf.away = True
    with pytest.warns(StaleWarning):
        assert ann.models() == []
    shelf.away = False
    ben.create_model_version("m")
    assert len(ann.models()) == 1
    shelf.away = True
    with pytest.warns(StaleWarning):  # it is another outage
        assert len(ann.models()) == 1


def test_nothing_is_recorded_while_nobody_answers(team: Team, shelf: Shelf) -> None:
    ann = team("ann")
    shelf.away = True
    with pytest.raises(WorkspaceUnreachableError, match=r"does not answer\. Nothing of this was recorded\.$"):
        ann.create_model_version("m")
    shelf.away = False
    assert ann.models() == []


def test_who_may_not_read_is_not_answered_from_a_copy(
    team: Team, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = team("ann")

    def forbidden(after: int = 0) -> Iterator[Commit]:
        raise WorkspaceAccessError("forbidden")

    monkeypatch.setattr(shelf, "read", forbidden)
    with pytest.raises(WorkspaceAccessError):
        ann.models()


# Probe and clock


def test_a_ledger_is_tried_out_once_by_each_machine(team: Team, shelf: Shelf) -> None:
    for who in ("ann", "ann", "ben"):
        team(who).create_model_version("m")
    assert shelf.asked.count("probe") == 2


def test_a_ledger_that_fails_is_refused_each_time(team: Team, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise WorkspaceError("It would lose commits.")

    with monkeypatch.context() as patch:
        patch.setattr(shelf, "probe", fails)
        for _ in range(2):
            with pytest.raises(WorkspaceError, match="would lose commits"):
                team("ann")
    assert team("ann").models() == []


def test_who_may_only_read_need_not_try(team: Team, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden() -> None:
        raise WorkspaceAccessError("You may only read.")

    with monkeypatch.context() as patch:
        patch.setattr(shelf, "probe", forbidden)
        ann = team("ann")
        assert ann.models() == []
        with pytest.raises(WorkspaceAccessError, match="only read"):
            ann.create_model_version("m")
    assert ann.create_model_version("m").number == 1


@pytest.mark.parametrize(("ahead", "is_refused"), [(700, True), (500, False), (-7000, False)])
def test_a_clock_that_is_far_ahead_is_refused(team: Team, shelf: Shelf, ahead: float, is_refused: bool) -> None:
    ann = team("ann")
    shelf._clock = lambda: time.time() - ahead
    if is_refused:
        with pytest.raises(
            WorkspaceError, match=r"is 12 minutes ahead of .* Nothing of this was recorded\. Set the cl"
        ):
            ann.create_model_version("m")
        assert shelf.head() == Head()
    else:
        ann.create_model_version("m")
        ann.create_model_version("m")
    assert shelf.asked.count("now") == 1


# Grants


def unvouched(shelf: Shelf, stage: str = "production") -> None:
    """A commit that moves a stage, and tags, by somebody who may not promote and does not care."""
    moved = StageMoved(model="m", stage=stage, number=1, previous=None, action="promote")
    tagged = Tagged(kind="model", record="m", tags={"by": "mallory"})
    MemoryLedger.append(shelf, next_commit(shelf.head(), [event_to_json(each) for each in (moved, tagged)]))


def test_who_may_not_promote_records_nothing(team: Team, shelf: Shelf) -> None:
    ann = team("ann")
    ann.create_model_version("m")
    shelf.may_promote = False
    with pytest.raises(WorkspaceAccessError, match="forbids this"):
        ann.promote("m", 1, "production")
    assert shelf.head().seq == 1


def test_a_stage_moved_without_a_grant_is_not_moved(team: Team, shelf: Shelf) -> None:
    ann = team("ann")
    ann.create_model_version("m")
    unvouched(shelf)
    ben = team("ben")
    for each in (ann, ben):
        assert each.model_version("m", 1).stages == ()
        assert each.models()[0].tags == {"by": "mallory"}, "the rest of it counts"
        assert each.stage_history("m") == []
        (finding,) = each.verify()
        assert (finding.kind, finding.subject) == ("grant", "2")
        assert "nobody who may do that has vouched for it. The stage was not moved." in finding.message
    before = rows(ann)
    assert rows(ben) == before
    ann.rebuild()
    assert rows(ann) == before
    assert ann.promote("m", 1, "production").stages == ("production",)
    assert ben.model_version("m", "production").number == 1


def test_a_grant_that_comes_or_goes_later_is_named(team: Team, shelf: Shelf) -> None:
    ann = team("ann")
    ann.create_model_version("m")
    ann.promote("m", 1, "staging")
    unvouched(shelf)
    assert ann.model_version("m", 1).stages == ("staging",)
    granted, ungranted = list(MemoryLedger.read(shelf))[1:]
    shelf._grants.clear()
    MemoryLedger.grant(shelf, ungranted)
    assert [(each.kind, each.subject) for each in ann.verify()] == [("grant", "2"), ("grant", "3"), ("grant", "3")]
    MemoryLedger.grant(shelf, granted)
    ann.rebuild()
    assert ann.verify() == []
    assert ann.model_version("m", 1).stages == ("staging", "production")


def test_whether_it_is_granted_is_not_guessed(team: Team, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, ben = team("ann"), team("ben")
    ann.create_model_version("m")
    ann.promote("m", 1, "production")

    def lost(commit: Commit) -> bool:
        raise WorkspaceUnreachableError(SILENT)

    with monkeypatch.context() as patch:
        patch.setattr(shelf, "is_granted", lost)
        with pytest.warns(StaleWarning):
            assert ben.models() == []
    replica(ben)._freshness.is_away = False
    assert ben.model_version("m", "production").number == 1


# Info


def test_info_says_how_new_the_copy_is_and_who_wrote(team: Team, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, ben = team("ann"), team("ben")
    for who, workspace, count in (("ann", ann, 2), ("ben", ben, 3)):
        monkeypatch.setenv("DRYSTONE_AUTHOR", who)
        for _ in range(count):
            workspace.create_model_version("m")
    info = ann.info()
    assert (info["commits"], info["lag"], info["reachable"], info["models"]) == (5, 3, True, 1)
    assert info["size"] == sum(len(body) for _, _, body in shelf._commits)
    assert [each["author"] for each in info["writers"]] == ["ben", "ann"]
    assert set(info["writers"][0]) == {"author", "host", "drystone", "at"}
    assert ann.info()["lag"] == 0


# Checkpoints


@pytest.fixture
def history(team: Team) -> Workspace:
    """Somebody's workspace, with a checkpoint and something after it."""
    ann = team("ann")
    for _ in range(3):
        ann.create_model_version("m")
    ann.promote("m", 2, "production")
    ann.keep_checkpoint()
    ann.create_model_version("m")
    return ann


def test_a_new_machine_begins_with_a_checkpoint(team: Team, shelf: Shelf, history: Workspace) -> None:
    read, after = MemoryLedger.read, []
    shelf.read = lambda seq=0: after.append(seq) or read(shelf, seq)  # type: ignore[method-assign, assignment]
    ben = team("ben")
    assert min(after) == 3, "it reads the checkpoint's last commit, and what follows"
    assert rows(ben) == rows(history)
    assert ben.verify() == []
    assert not list(ben.directory.glob("*.checkpoint"))


def damaged(data: bytes) -> bytes:
    return data[: len(data) // 2]


def changed(*statements: str) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.deserialize(zlib.decompress(data))
        for statement in statements:
            connection.execute(statement)
        lie = zlib.compress(connection.serialize())
        connection.close()
        return lie

    return change


LIES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "half": (damaged, "is damaged"),
    "no database": (lambda data: zlib.compress(b"x" * 9000), "is damaged"),
    "a commit altered": (
        changed("UPDATE commits SET body = replace(body, 'm', 'n') WHERE seq = 2"),
        "not those up to 4",
    ),
    "a commit missing": (changed("DELETE FROM commits WHERE seq = 2"), "not those up to 4"),
    "no text": (changed("UPDATE commits SET body = CAST(x'FF' AS TEXT) WHERE seq = 2"), "is damaged"),
    "a trigger": (
        changed("CREATE TRIGGER t AFTER INSERT ON commits BEGIN DELETE FROM commits; END"),
        "tables are not those of a replica",
    ),
    "another place": (changed("UPDATE v4_position SET seq = 3"), "index does not end with commit 4"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_checkpoint_that_is_not_what_it_says_is_skipped_and_named(
    team: Team, shelf: Shelf, history: Workspace, lie: str
) -> None:
    change, problem = LIES[lie]
    (name,) = shelf._checkpoints
    shelf._checkpoints[name] = change(shelf._checkpoints[name])
    ben = team("ben")
    assert rows(ben) == rows(history)
    (finding,) = ben.verify()
    assert (finding.kind, finding.subject) == ("checkpoint", name)
    assert problem in finding.message


def test_a_checkpoint_of_another_ledger_or_schema_is_skipped(team: Team, shelf: Shelf, history: Workspace) -> None:
    (name,) = shelf._checkpoints
    data = shelf._checkpoints.pop(name)
    for other in (name[:-4] + "beef", f"{name[:22]}9{name[23:]}", "v2" + name[2:], "notes.txt"):
        shelf._checkpoints[other] = data
    assert len(usable(shelf)) == 2
    ben = team("ben")
    assert rows(ben) == rows(history)
    assert {each.kind for each in ben.verify()} == {"checkpoint"}


def test_a_checkpoint_that_goes_while_it_is_looked_for_is_skipped(
    team: Team, shelf: Shelf, history: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = shelf.checkpoints()
    shelf._checkpoints.clear()
    monkeypatch.setattr(shelf, "checkpoints", lambda: names)
    assert rows(team("ben")) == rows(history)


@pytest.mark.parametrize(
    "lie", ["UPDATE v4_documents SET body = replace(body, 'production', 'staging')", "INSERT INTO ungranted VALUES (4)"]
)
def test_an_index_that_lies_is_named_by_verify(team: Team, shelf: Shelf, history: Workspace, lie: str) -> None:
    """Nobody can tell before the ledger is replayed, so whoever may write checkpoints is trusted with the index."""
    (name,) = shelf._checkpoints
    shelf._checkpoints[name] = changed(lie)(shelf._checkpoints[name])
    assert name in {each.subject for each in history.verify()}
    assert {"index", "grant"} & {each.kind for each in team("ben").verify()}


def test_an_interrupted_download_leaves_nothing(
    team: Team, shelf: Shelf, history: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(name: str) -> bytes | None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shelf, "checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            team("ben")
    (folder,) = (Path(os.environ["XDG_CACHE_HOME"]) / "drystone" / "workspaces").iterdir()
    assert not (folder / FILE).exists()
    (folder / "left-by-a-kill.checkpoint").write_bytes(b"half")
    assert rows(team("ben")) == rows(history)
    assert not list(folder.glob("*.checkpoint"))


def test_only_a_shared_workspace_has_checkpoints(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="is not shared"):
        workspace.keep_checkpoint()


def test_a_stage_that_was_not_moved_is_not_moved_in_a_copy_either(team: Team, shelf: Shelf, tmp_path: Path) -> None:
    ann = team("ann")
    ann.create_model_version("m")
    unvouched(shelf)
    with ann.reading(), replica(ann).snapshot() as (ledger, _):
        assert [each.body for each in ledger.read()] == [each.body for each in MemoryLedger.read(shelf)]
        assert [len(each.events) for each in ledger.read()] == [1, 2], "whoever copies it has to see that it is there"
    with pytest.raises(WorkspaceError, match="Commit 2 moves a stage without a grant"):
        copy_workspace("shelf://team", tmp_path / "copy", artifacts=False)
