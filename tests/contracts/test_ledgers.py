"""Our own ledgers do what every ledger does, and workspaces on a shared one see each other."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from drystone import FilesystemLedger, FsspecArtifactStore, Workspace
from drystone.errors import WorkspaceError
from drystone.ledgers import Commit, SQLiteLedger
from drystone.testing import LedgerContract, MemoryLedger


class TestFilesystemLedger(LedgerContract):
    @pytest.fixture
    def ledger_url(self, tmp_path: Path) -> str:
        self.folder = tmp_path / "team"
        return f"file://{self.folder}"

    @pytest.fixture
    def open_ledger(self, ledger_url: str) -> Callable[[], FilesystemLedger]:
        return lambda: FilesystemLedger(FsspecArtifactStore(url=ledger_url))

    @pytest.fixture(params=["missing", "a file"])
    def unreachable_ledger(self, ledger_url: str, request: pytest.FixtureRequest) -> FilesystemLedger:
        ledger = FilesystemLedger(FsspecArtifactStore(url=ledger_url))
        ledger.probe()
        self.folder.rename(self.folder.with_name("elsewhere"))
        if request.param == "a file":
            self.folder.write_text("")
        return ledger

    def damage(self, kind: str, seq: int) -> None:
        file = self.folder / "commits" / f"{seq:020}"
        if kind == "missing":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes().replace(b"contract", b"contrast"))


class TestMemoryLedger(LedgerContract):
    @pytest.fixture
    def open_ledger(self) -> Callable[[], MemoryLedger]:
        ledger = MemoryLedger("memory://contract")
        return lambda: ledger

    @pytest.fixture
    def unsafe_ledger(self) -> MemoryLedger:
        class Overwrites(MemoryLedger):
            def append(self, commit: Commit) -> None:
                self._commits[commit.seq - 1 :] = [(commit.seq, commit.digest.encode(), commit.body.encode())]

        return Overwrites("memory://unsafe")


class TestSQLiteLedger(LedgerContract):
    leases = False

    @pytest.fixture
    def open_ledger(self, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], SQLiteLedger]:
        self.file = tmp_path / "ledger.db"

        def opened() -> SQLiteLedger:
            connection = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False, timeout=60)
            request.addfinalizer(connection.close)
            return SQLiteLedger(connection)

        opened().create()
        return opened

    def damage(self, kind: str, seq: int) -> None:
        change = "DELETE FROM commits" if kind == "missing" else "UPDATE commits SET body = replace(body, 'c', 'd')"
        connection = sqlite3.connect(self.file)
        with connection:
            connection.execute(f"{change} WHERE seq = ?", (seq,))
        connection.close()


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Workspace]:
    """Opens the shared workspace as somebody with another home."""

    def opened(who: str) -> Workspace:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / who))
        return Workspace(f"file://{tmp_path}/team")

    return opened


def test_two_workspaces_see_each_other(team: Callable[[str], Workspace]) -> None:
    ann, ben = team("ann"), team("ben")
    for number, each in enumerate([ann, ben, ann, ben], start=1):
        assert each.create_model_version("m").number == number
    assert [each.number for each in ann.model_versions("m")] == [each.number for each in ben.model_versions("m")]
    assert ann.verify() == ben.verify() == []
    assert not ann.allow_pickle
    ann.rebuild()
    assert ann.model_version("m", 4).number == 4


def test_a_driver_elsewhere_is_alive_until_its_lease_is_gone(team: Callable[[str], Workspace]) -> None:
    ann, ben = team("ann"), team("ben")
    with ann.lock() as lock:
        assert not ben.lock(lock.name).is_free()
    assert ben.lock(lock.name).is_free()


def test_an_append_that_succeeded_although_it_failed_is_a_success(
    team: Callable[[str], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, append = team("ann"), FilesystemLedger.append

    def unclear(self: FilesystemLedger, commit: Commit) -> None:
        append(self, commit)
        raise TimeoutError

    monkeypatch.setattr(FilesystemLedger, "append", unclear)  # no disk answers like that when it is asked to
    assert [ann.create_model_version("m").number for _ in range(3)] == [1, 2, 3]
    assert ann.verify() == []


def test_threads_of_two_machines_make_dense_numbers(team: Callable[[str], Workspace]) -> None:
    both = [team("ann"), team("ben")] * 2
    with ThreadPoolExecutor(4) as pool:
        made = pool.map(lambda each: [each.create_model_version("m").number for _ in range(5)], both)
        assert sorted(number for numbers in made for number in numbers) == [*range(1, 21)]


def test_a_missing_commit_is_told_by_verify(team: Callable[[str], Workspace], tmp_path: Path) -> None:
    ann = team("ann")
    for _ in range(3):
        ann.create_model_version("m")
    (tmp_path / "team" / "commits" / f"{2:020}").unlink()
    assert "Commit 2" in ann.verify()[0].message


def test_an_unknown_scheme_says_what_is_known() -> None:
    with pytest.raises(WorkspaceError, match="file://"):
        Workspace("nowhere://x")


PROGRAM = """
from drystone import Workspace, pipeline, step, Stack
@step
def one() -> int:
    return 1
@pipeline
def small() -> int:
    return one()
print(small().status, Workspace.current().url)
"""


def test_a_pipeline_runs_on_a_shared_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DRYSTONE_WORKSPACE", f"file://{tmp_path}/team")
    (tmp_path / "small.py").write_text(PROGRAM)
    done = subprocess.run([sys.executable, "small.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == [f"succeeded file://{tmp_path}/team"], done.stderr
