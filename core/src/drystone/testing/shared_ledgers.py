"""What every ledger does that machines share: between processes, under workspaces, and when something goes wrong."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from drystone.errors import LedgerConflict, StageError, WorkspaceError
from drystone.hookspecs import hookimpl
from drystone.ledgers import Head, next_commit
from drystone.plugins import load_plugins
from drystone.testing.attempts import raises
from drystone.testing.children import started
from drystone.testing.ledger_attempts import FLOW, STACKS, added, event, python
from drystone.workspaces import Workspace

Open = Callable[[], Any]
CHECKPOINT = f"v0-{7:020}-{'0123456789abcdef' * 4}"
COUNTED = ("commits", "head", "artifact_versions", "models")
APPEND = "drystone.testing.ledger_attempts:append"


class SharedLedgers:
    """The part of the contract about leases, processes, workspaces, and faults."""

    leases: ClassVar[bool] = True
    rounds: ClassVar[int] = 4
    libraries: ClassVar[tuple[str, ...]] = ("boto3", "botocore", "numpy", "pandas", "s3fs")

    @pytest.fixture
    def ledger_url(self) -> str:
        """The URL of the ledger that `open_ledger` opens; by default nothing is tested between processes."""
        pytest.skip("The author gives no `ledger_url`.")

    @pytest.fixture
    def unreachable_ledger(self) -> Any:
        """A ledger that is open, and whose service does not answer any more; by default nothing is tested of it."""
        pytest.skip("The author gives no `unreachable_ledger`.")

    @pytest.fixture
    def unsafe_ledger(self) -> Any:
        """A ledger on a store that lets all of several win that create one object; by default nothing is tested."""
        pytest.skip("The author gives no `unsafe_ledger`.")

    @pytest.fixture
    def secret_ledger(self) -> tuple[Any, str]:
        """A ledger that knows a secret, and the secret's text; by default nothing is tested of it."""
        pytest.skip("The author gives no `secret_ledger`.")

    @pytest.fixture
    def machines(self, open_ledger: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Workspace]]:
        """The workspace on the ledger, opened as on two machines."""
        self._needs_leases()

        class Offer:
            @hookimpl
            def drystone_ledgers(self) -> dict[str, Callable[[str], Any]]:
                return {"contract": lambda url: open_ledger()}

        opened = []
        with load_plugins().observed(Offer(), "ledger-contract"):
            for who in ("ann", "ben"):
                monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / who))
                opened.append(Workspace("contract://shared"))
            yield opened
        for each in opened:
            each.close()

    def _needs_leases(self) -> None:
        if not self.leases:
            pytest.skip("The ledger is not shared.")

    # Leases

    def test_a_lease_has_one_holder(self, open_ledger: Open) -> None:
        """Who holds it can renew it; nobody else gets it until it is released."""
        self._needs_leases()
        ledger, other = open_ledger(), open_ledger()
        assert other.holder("run") is None
        assert ledger.lease("run", "a", 600)
        assert not other.lease("run", "b", 600), "a lease was granted to two"
        assert ledger.lease("run", "a", 600), "its holder must be able to renew it"
        assert other.holder("run") == "a"
        other.release("run", "b")
        assert other.holder("run") == "a", "only its holder can release it"
        ledger.release("run", "a")
        assert other.holder("run") is None
        assert other.lease("run", "b", 600)

    def test_a_lease_expires(self, open_ledger: Open) -> None:
        """One of no seconds has expired at once; after a take-over the old holder has lost it."""
        self._needs_leases()
        ledger, other = open_ledger(), open_ledger()
        assert ledger.lease("run", "a", 0)
        assert other.holder("run") is None, "a lease must expire"
        assert other.lease("run", "b", 600)
        assert not ledger.lease("run", "a", 600), "who lost a lease must not renew it"

    def test_a_lease_is_shortened_by_its_holder(self, open_ledger: Open) -> None:
        """A renewal counts from now: what was promised before it is over."""
        self._needs_leases()
        ledger, other = open_ledger(), open_ledger()
        assert ledger.lease("run", "a", 600)
        assert ledger.lease("run", "a", 0)
        assert other.holder("run") is None, "a renewal must take the place of the lease before"

    def test_a_forgotten_lease_leaves_nothing(self, open_ledger: Open) -> None:
        """Whoever holds it; other leases stay, and to forget what is not there is no error."""
        self._needs_leases()
        ledger, other = open_ledger(), open_ledger()
        for name in ("run", "another"):
            assert ledger.lease(name, "a", 600)
        other.forget("run")
        other.forget("run")
        other.forget("never")
        assert ledger.holder("run") is None, "forget() must remove a lease"
        assert ledger.holder("another") == "a", "forget() must remove one lease alone"

    # The store's clock, what it promises, and who may promote

    def test_now_is_the_time_by_the_store(self, open_ledger: Open) -> None:
        """In seconds since 1970, the same for every handle, and it does not go back."""
        self._needs_leases()
        ledger, other = open_ledger(), open_ledger()
        before, between, after = ledger.now(), other.now(), ledger.now()
        assert before <= between <= after, "now() must not go back"
        assert 1_600_000_000 < before < 32_000_000_000, "now() must be in seconds since 1970"
        assert after - before < 60, "all handles must go by one clock"

    def test_a_probe_changes_nothing(self, open_ledger: Open) -> None:
        """It can be made by several at once, before and after anything was added."""
        self._needs_leases()
        ledger = open_ledger()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: open_ledger().probe(), range(4)))
        assert list(ledger.read()) == [], "a probe must add no commit"
        kept = added(ledger, "kept")
        ledger.probe()
        assert [each.id for each in open_ledger().read()] == [kept.id], "a probe must change no commit"

    def test_a_store_that_loses_commits_is_refused(self, unsafe_ledger: Any) -> None:
        """Where both of two that add a commit are told that they did, the probe says so."""
        assert raises(WorkspaceError, unsafe_ledger.probe), "probe() must refuse a store that would lose commits"

    def test_a_grant_is_for_one_commit(self, open_ledger: Open) -> None:
        """It counts from any handle, before and after the commit is added, and for no other of the same number."""
        self._needs_leases()
        ledger, other = open_ledger(), open_ledger()
        ledger.probe()
        commit, rival = (next_commit(ledger.head(), [event(text)]) for text in ("mine", "theirs"))
        assert not other.is_granted(commit), "nobody has granted it"
        ledger.grant(commit)
        ledger.grant(commit)
        assert other.is_granted(commit), "a grant must be seen from everywhere"
        assert not other.is_granted(rival), "a grant is for exactly one commit"
        ledger.append(commit)
        assert other.is_granted(next(iter(other.read()))), "a grant must outlive that its commit is added"
        assert not other.is_granted(next_commit(commit.head, [event("next")]))

    def test_checkpoints_are_kept_as_they_are(self, open_ledger: Open) -> None:
        """Of a ledger that keeps any: the first of a name stays."""
        self._needs_leases()
        ledger, other = open_ledger(), open_ledger()
        ledger.probe()
        assert ledger.checkpoints() == []
        assert ledger.checkpoint(CHECKPOINT) is None
        ledger.keep_checkpoint(CHECKPOINT, b"\x00first")
        ledger.keep_checkpoint(CHECKPOINT, b"second")
        if other.checkpoints() == []:
            pytest.skip("The ledger keeps no checkpoints.")
        assert other.checkpoints() == [CHECKPOINT]
        assert other.checkpoint(CHECKPOINT) == b"\x00first", "what is kept must not be overwritten"

    # Commits from elsewhere

    def test_a_commit_that_does_not_follow_the_last_is_a_conflict(self, open_ledger: Open) -> None:
        """Neither one whose number leaves a gap, nor one that follows what is not there."""
        self._needs_leases()
        ledger, foreign = open_ledger(), next_commit(next_commit(open_ledger().head(), []).head, [event("foreign")])
        kept = added(ledger, "kept")
        gap = next_commit(next_commit(ledger.head(), [event("never added")]).head, [event("gap")])
        for commit in (gap, foreign):
            with pytest.raises(LedgerConflict):
                ledger.append(commit)
        assert [each.id for each in ledger.read()] == [kept.id], "a refused commit must change nothing"

    def test_processes_that_append_make_dense_numbers(self, open_ledger: Open, ledger_url: str) -> None:
        """Of several at once, every success is there exactly once."""
        children = [started(APPEND, str(self.rounds), "10", value=ledger_url) for _ in range(3)]
        told = [child.communicate() for child in children]
        mine = [each for out, _ in told for each in out.split()]
        assert len(mine) == 3 * self.rounds, f"a process could not append: {[err for _, err in told]}"
        stored = list(open_ledger().read())
        assert [each.seq for each in stored] == [*range(1, len(mine) + 1)], "numbers must be dense"
        assert sorted(each.id for each in stored) == sorted(mine), "every success must be there exactly once"

    def test_a_process_killed_while_it_appends_leaves_nothing_half(self, open_ledger: Open, ledger_url: str) -> None:
        """The commit is absent or whole, all that was said to be added is there, and the ledger goes on."""
        told = []
        for number in range(self.rounds):
            with started(APPEND, "1000", str(1 << 20), value=ledger_url) as child:
                assert child.stdout is not None
                told += [child.stdout.readline().strip() for _ in range(number + 1)]
                child.send_signal(signal.SIGKILL)
            stored = [each.id for each in open_ledger().read()]
            assert "" not in told, "a process could not append"
            assert set(told) <= set(stored), "a commit that append() had returned from is lost"
        added(open_ledger(), "afterwards")

    # Workspaces

    def test_a_killed_driver_leaves_a_run_that_is_resumed_elsewhere(
        self, open_ledger: Open, ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is running until its lease is over, crashed after that; resumed, it keeps what was done."""
        folder = tmp_path / "project"
        folder.mkdir()
        (folder / "stacks.py").write_text(STACKS)
        (folder / "flow.py").write_text(FLOW)
        monkeypatch.chdir(folder)
        died = python("import flow; flow.flow()", folder, ledger_url, "ann")
        assert died.returncode == -signal.SIGKILL, died.stderr
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "ben"))
        workspace = Workspace(ledger_url)
        with workspace.reading() as records:
            (running,) = records.index.running()
        assert open_ledger().holder(running["lock"]), "a driver that was just there holds its lease"
        assert open_ledger().lease(running["lock"], running["lock"], 0)
        assert workspace.mark_crashed() == ["flow-1"]
        (folder / "go").touch()
        resumed = python("from drystone import Workspace as W; W.current().resume('flow-1')", folder, ledger_url, "eve")
        assert resumed.returncode == 0, resumed.stderr
        run = workspace.run("flow-1")
        assert (run.status, run.output.load(), (folder / "firsts").read_text()) == ("succeeded", 2, "x")
        assert workspace.verify() == []
        workspace.close()

    @pytest.mark.parametrize("seed", range(3))
    def test_any_history_is_the_same_for_all(self, machines: list[Workspace], seed: int) -> None:
        """Numbers are dense, a stage has one holder, and an index made anew is the one that was kept."""
        chance = random.Random(seed)
        for number in range(16):
            workspace, model = chance.choice(machines), chance.choice("mn")
            last = workspace.create_model_version(model).number
            move = chance.choice([workspace.promote, workspace.rollback, None])
            with suppress(StageError):  # there may be nothing to go back to
                if move == workspace.promote:
                    workspace.promote(model, chance.randint(1, last), "production", reason=str(number))
                elif move is not None:
                    workspace.rollback(model, "production")
        ann, ben = machines
        for model in "mn":
            numbers = [each.number for each in ann.model_versions(model, limit=None)]
            assert numbers == [*range(len(numbers), 0, -1)], "numbers must be dense and unique"
            assert numbers == [each.number for each in ben.model_versions(model, limit=None)]
            assert sum("production" in each.stages for each in ann.model_versions(model, limit=None)) <= 1
            assert ann.stage_history(model) == ben.stage_history(model)
        before = [ann.info()[name] for name in COUNTED]
        assert ann.verify() == ben.verify() == [], "the index must be what the ledger says"
        ann.rebuild()
        assert [ann.info()[name] for name in COUNTED] == before
        assert ann.verify() == []

    # Faults, and what it says of itself

    def test_what_goes_wrong_is_a_workspace_error(self, unreachable_ledger: Any) -> None:
        """Where a service does not answer, whatever its library raises arrives as `WorkspaceError`."""
        commit = next_commit(Head(), [event("lost")])
        calls: dict[str, Callable[[], object]] = {
            "head": unreachable_ledger.head,
            "read": lambda: list(unreachable_ledger.read()),
            "append": lambda: unreachable_ledger.append(commit),
            "lease": lambda: unreachable_ledger.lease("run", "a", 600),
            "holder": lambda: unreachable_ledger.holder("run"),
            "release": lambda: unreachable_ledger.release("run", "a"),
            "probe": unreachable_ledger.probe,
            "grant": lambda: unreachable_ledger.grant(commit),
            "is_granted": lambda: unreachable_ledger.is_granted(commit),
        }
        answered = [name for name, call in calls.items() if not raises(WorkspaceError, call)]
        assert answered == [], f"{answered} answered although the service cannot be reached"

    def test_a_secret_is_not_shown(self, secret_ledger: tuple[Any, str]) -> None:
        """Not in the repr."""
        ledger, secret = secret_ledger
        assert secret not in repr(ledger), "a secret's text is shown in the repr"

    def test_importing_it_is_light(self, open_ledger: Open) -> None:
        """Importing its package imports no library that takes long: that waits until the ledger is opened."""
        package = type(open_ledger()).__module__.partition(".")[0]
        code = f"import sys, {package}; print([name for name in {self.libraries!r} if name in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode or done.stdout.strip() == "[]", f"import {package} imports {done.stdout}"
