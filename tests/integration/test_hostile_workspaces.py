"""A shared workspace that somebody damaged: what each machine says, what `verify` says, and that nothing passes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from drystone import FilesystemLedger, FsspecArtifactStore, Workspace
from drystone.errors import BlobLostError, FormatError, LedgerDamagedError, WorkspaceError
from drystone.events import StageMoved, event_to_json
from drystone.ledgers import Commit, next_commit
from drystone.segments import SEGMENT, commit_name, packed, segment_name
from drystone_cli.main import main

STACKS = """
from pathlib import Path

from drystone import FsspecArtifactStore, Stack, Workspace
from drystone_local import LocalOrchestrator

drive = f"file://{Path(__file__).parent / 'drive'}"
workspace = Workspace(f"{drive}/ledger")
team = Stack("team", orchestrator=LocalOrchestrator(), artifact_store=FsspecArtifactStore(url=f"{drive}/blobs"))
default = team
"""


@attrs.frozen
class Team:
    """A workspace on a drive, the machines that use it, and whoever can do what he wants with the drive."""

    root: Path
    monkeypatch: pytest.MonkeyPatch
    opened: list[Workspace] = attrs.field(factory=list)

    def machine(self, name: str) -> Workspace:
        """The workspace as a machine with a home of its own sees it."""
        self.monkeypatch.setenv("XDG_CACHE_HOME", str(self.root / "homes" / name))
        self.opened.append(Workspace(f"file://{self.root}/drive/ledger"))
        return self.opened[-1]

    @property
    def store(self) -> FsspecArtifactStore:
        """The objects of the ledger."""
        return FsspecArtifactStore(url=f"file://{self.root}/drive/ledger")

    @property
    def ledger(self) -> FilesystemLedger:
        """The ledger, for whoever adds to it without being asked."""
        return FilesystemLedger(self.store)

    def forge(self, *events: dict[str, Any], **fields: Any) -> Commit:
        """Add a commit that no Drystone would."""
        commit = attrs.evolve(next_commit(self.ledger.head(), events), **fields)
        self.ledger.append(commit)
        return commit


@pytest.fixture
def team(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    (project / "stacks.py").write_text(STACKS)
    team = Team(project, monkeypatch)
    workspace = team.machine("known")
    workspace.save_artifact([1, 2, 3], "numbers")
    for _ in range(5):
        workspace.create_model_version("m")
    yield team
    for each in team.opened:
        each.close()


def commits(workspace: Workspace) -> int:
    return int(workspace.info()["commits"])


def told(workspace: Workspace) -> list[tuple[str, str]]:
    return [(each.kind, each.subject) for each in workspace.verify()]


def test_what_is_whole_is_said_to_be_whole(team: Team) -> None:
    for name in ("known", "fresh"):
        assert told(team.machine(name)) == []


def cut(team: Team, seq: int) -> None:
    name = commit_name(seq)
    team.store.write(name, team.store.read_range(name, 0, None)[:-20])


def alter(team: Team, seq: int) -> None:
    name = commit_name(seq)
    team.store.write(
        name, team.store.read_range(name, 0, None).replace(b"model.version_created", b"model.version_creatad")
    )


def swap(team: Team, seq: int) -> None:
    """Another commit that fits its digest and the one before, as whoever can write over objects can make it."""
    ledger = team.ledger
    before = [*ledger.read()][seq - 2]
    other = next_commit(before.head, [{"type": "nothing", "v": 1, "critical": False}])
    team.store.write(commit_name(seq), packed(other))


DAMAGE: dict[str, Callable[[Team, int], None]] = {
    "missing": lambda team, seq: team.store.delete(commit_name(seq)),
    "truncated": cut,
    "altered": alter,
    "replaced": swap,
    "of another ledger": lambda team, seq: team.store.write(
        commit_name(seq), team.store.read_range(commit_name(1), 0, None)
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_commit_is_refused_by_fresh_machines_and_named_by_all(team: Team, damage: str) -> None:
    known = team.machine("known")
    DAMAGE[damage](team, 3)
    with pytest.raises(LedgerDamagedError, match=r"Commit [34] "):
        team.machine("fresh").models()
    assert [each.name for each in known.models()] == ["m"], "it has what it fetched"
    for machine in (known, team.machine("fresh"), team.machine("another")):
        ((kind, subject),) = told(machine)
        assert (kind, subject) in {("commit", commit_name(3)), ("commit", commit_name(4))}
    with pytest.raises(LedgerDamagedError):
        known.rebuild()
    assert [each.name for each in known.models()] == ["m"], "what could not be fetched anew was not thrown away"


@pytest.mark.parametrize("damage", ["missing", "replaced"])
def test_a_machine_that_knows_the_end_notices_that_it_is_another(team: Team, damage: str) -> None:
    """With the next commit, and `verify` at once. A fresh one cannot: to it the ledger ends there."""
    known = team.machine("known")
    DAMAGE[damage](team, commits(known))
    (finding,) = known.verify()
    assert finding.kind == "commit"
    assert "fetched before" in finding.message or "is missing" in finding.message
    fresh = team.machine("fresh")
    for _ in range(2):
        fresh.create_model_version("m")
    with pytest.raises(LedgerDamagedError, match=r"altered or foreign"):
        team.machine("known").models()


def test_an_unknown_event_that_must_not_be_skipped_stops_everybody(team: Team) -> None:
    known = team.machine("known")
    forged = team.forge({"type": "model.exploded", "v": 1, "critical": True})
    for machine in (known, team.machine("fresh")):
        with pytest.raises(FormatError, match=rf"Commit {forged.seq} cannot be entered.*'model.exploded' .* newer one"):
            machine.models()
        with pytest.raises(FormatError, match=r"model\.exploded"):
            machine.create_model_version("m")
        (finding,) = machine.verify()
        assert (finding.kind, f"Commit {forged.seq} " in finding.message) == ("commit", True)
        assert "Install" in finding.remedy
    assert team.ledger.head().seq == forged.seq, "nothing was added"


def test_an_unknown_event_that_may_be_skipped_is_skipped_and_kept(team: Team) -> None:
    known = team.machine("known")
    team.forge({"type": "model.admired", "v": 1, "critical": False})
    for machine in (known, team.machine("fresh")):
        assert [each.name for each in machine.models()] == ["m"]
        assert told(machine) == []
    known.create_model_version("m")
    assert commits(team.machine("fresh")) == commits(known)


IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "no fields": {"type": "run.started", "v": 1, "critical": True},
    "no version": {"type": "run.started", "critical": True},
    "a version that is none": {"type": "run.started", "v": "1", "critical": True},
    "unknown, and not said whether it counts": {"type": "model.exploded", "v": 1},
    "a list for a name": {"type": "model.declared", "v": 1, "critical": True, "model": ["m"], "description": "",
                          "tags": {}},
    "text for tags": {"type": "model.declared", "v": 1, "critical": True, "model": "m", "description": "", "tags": "x"},
    "a huge number": {"type": "model.version_created", "v": 1, "critical": True, "model": "m", "number": 10**40,
                      "name": None, "run": None, "tags": {}},
    "a number that is not the next": {"type": "model.version_created", "v": 1, "critical": True, "model": "m",
                                      "number": 99, "name": None, "run": None, "tags": {}},
    "half a character": {"type": "model.declared", "v": 1, "critical": True, "model": "m\udcff", "description": "",
                         "tags": {}},
}  # fmt: skip


@pytest.mark.parametrize("how", IMPOSSIBLE)
def test_an_event_that_no_drystone_writes_stops_everybody_and_is_named(team: Team, how: str) -> None:
    known = team.machine("known")
    forged = team.forge(IMPOSSIBLE[how])
    for machine in (known, team.machine("fresh")):
        with pytest.raises(WorkspaceError, match=rf"Commit {forged.seq} "):
            machine.models()
        (finding,) = machine.verify()
        assert (finding.kind, f"Commit {forged.seq} " in finding.message) == ("commit", True)


def test_a_stage_that_is_moved_without_a_grant_is_not_moved(team: Team) -> None:
    known = team.machine("known")
    known.promote("m", 1, "production")
    moved = StageMoved(model="m", stage="production", number=5, previous=1, action="promote")
    forged = team.forge(event_to_json(moved), {"type": "model.admired", "v": 1, "critical": False})
    for machine in (known, team.machine("fresh")):
        assert machine.model_version("m", "production").number == 1
        assert [move.number for move in machine.stage_history("m", "production")] == [1]
        (finding,) = machine.verify()
        assert (finding.kind, finding.subject) == ("grant", str(forged.seq))
        assert "nobody who may do that has vouched for it" in finding.message
    known.rebuild()
    assert known.model_version("m", "production").number == 1
    known.promote("m", 2, "production")
    assert team.machine("fresh").model_version("m", "production").number == 2


def test_a_grant_for_another_commit_helps_nobody(team: Team) -> None:
    known = team.machine("known")
    known.promote("m", 1, "production")
    moved = event_to_json(StageMoved(model="m", stage="production", number=5, previous=1, action="promote"))
    ledger = team.ledger
    granted = next_commit(ledger.head(), [moved])
    ledger.grant(granted)
    ledger.append(attrs.evolve(granted, body=granted.body.replace('"number":5', '"number":4')))
    for machine in (known, team.machine("fresh")):
        assert machine.model_version("m", "production").number == 1
        assert [each[0] for each in told(machine)] == ["grant"]


def test_the_format_is_altered(team: Team) -> None:
    known = team.machine("known")
    team.store.write("format", b"one")
    for attempt in (lambda: known.create_model_version("m"), known.models, lambda: team.machine("fresh")):
        with pytest.raises(LedgerDamagedError, match=r"object `format` .* is altered"):
            attempt()
    (finding,) = known.verify()
    assert (finding.kind, finding.subject) == ("commit", "format")


def test_segments_and_foreign_objects_are_named_and_do_no_harm(team: Team) -> None:
    known = team.machine("known")
    for _ in range(SEGMENT):
        known.create_model_version("m")
    store = team.store
    assert store.exists(segment_name(0))
    store.write(segment_name(0), b"damaged")
    store.write("holiday.jpg", b"x")
    store.write("commits/latest", b"x")
    for machine in (known, team.machine("fresh")):
        assert len(machine.model_versions("m", limit=None)) == SEGMENT + 5
        assert told(machine) == [
            ("object", "commits/latest"),
            ("object", "holiday.jpg"),
            ("object", segment_name(0)),
        ]


def test_a_checkpoint_that_unpacks_to_too_much_is_not_unpacked(team: Team) -> None:
    name = team.machine("known").keep_checkpoint()
    assert told(team.machine("fresh")) == []
    team.monkeypatch.setattr("drystone.checkpoints.LARGEST", 5000)
    another = team.machine("another")
    assert [each.name for each in another.models()] == ["m"], "it reads the commits instead"
    assert told(another) == [("checkpoint", name)]


def test_a_damaged_blob_is_an_error_and_never_a_value(team: Team) -> None:
    fresh = team.machine("fresh")
    (manifest,) = [fresh.artifact("numbers").manifest]
    (blob,) = manifest.blobs
    path = team.root / "drive" / "blobs" / "blobs" / blob.digest[:2] / blob.digest
    path.write_bytes(b"[9, 9, 9]")
    assert [(each.kind, "damaged" in each.message) for each in fresh.verify()] == [("blob", True)]
    with pytest.raises(BlobLostError):
        fresh.load_artifact("numbers")


def test_a_ledger_and_an_artifact_store_in_one_place_get_on_and_are_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By mistake; nothing is lost, but a policy could not tell them apart, so `verify` says it."""
    (project / "stacks.py").write_text(STACKS.replace("{drive}/blobs", "{drive}/ledger"))
    team = Team(project, monkeypatch)
    workspace = team.machine("known")
    for number in range(3):
        workspace.save_artifact([number], "numbers")
    fresh = team.machine("fresh")
    assert [fresh.load_artifact("numbers", number) for number in (1, 2, 3)] == [[0], [1], [2]]
    (finding,) = fresh.verify()
    assert (finding.kind, finding.subject) == ("object", "blobs/")
    assert "3 objects are" in finding.message
    assert "prefix of its own" in finding.remedy
    for each in team.opened:
        each.close()


def test_the_command_says_which_object_what_and_what_to_do(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    team.store.write(commit_name(3), b"x")
    team.monkeypatch.setenv("XDG_CACHE_HOME", str(team.root / "homes" / "command"))
    team.monkeypatch.setenv("DRYSTONE_WORKSPACE", f"file://{team.root}/drive/ledger")
    os.environ.pop("COLUMNS", None)
    assert main(["workspace", "verify", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["subject"]) == ("commit", commit_name(3))
    assert found["message"].startswith("Commit 3 of the ledger is altered: ")
    assert found["remedy"].startswith("Restore this object from a backup")
    assert main(["workspace", "verify"]) == 1
    assert main(["models", "list"]) == 1
