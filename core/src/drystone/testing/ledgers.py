"""What every ledger does."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from drystone.errors import LedgerConflict, LedgerDamagedError
from drystone.ledgers import Head, next_commit
from drystone.testing.attempts import quick_switches
from drystone.testing.ledger_attempts import added, event, persistent
from drystone.testing.shared_ledgers import Open, SharedLedgers

THREADS = 24


class LedgerContract(SharedLedgers, ABC):
    """What every ledger does.

    Inherit it, and say in one fixture how handles on one ledger are opened, which is empty at first::

        class TestShelfLedger(LedgerContract):
            @pytest.fixture
            def ledger_url(self, tmp_path):
                return f"shelf://{tmp_path}"

            @pytest.fixture
            def open_ledger(self, ledger_url):
                return lambda: ShelfLedger(ledger_url)

    `ledger_url` is optional: give it if an installed plugin opens that URL, and several processes at once, killed ones
    and whole runs are tested as well. `unreachable_ledger` gives a ledger whose service does not answer;
    `unsafe_ledger` one on a store that would lose commits; `secret_ledger` one that knows a secret, with that.
    Override `damage` to show that damage is noticed.

    Class attributes:
        leases: Whether it is a `SharedLedger`. Only the one that core uses in a local workspace is not.
        rounds: Commits that each of many threads adds.
        libraries: Modules that importing the ledger's package must leave alone, because they take long.
    """

    @pytest.fixture
    @abstractmethod
    def open_ledger(self) -> Open:
        """Opens a handle on one ledger; every call another handle on the same."""

    def damage(self, kind: str, seq: int) -> None:
        """Damage the stored commit of a number: `altered` or `missing`; by default nothing is tested of it."""
        pytest.skip("The author does not say how to damage the ledger.")

    def test_an_empty_ledger_has_no_commit(self, open_ledger: Open) -> None:
        """Its head is `Head()`, and nothing is read."""
        assert open_ledger().head() == Head(), "head() of an empty ledger must be Head()"
        assert list(open_ledger().read()) == []

    def test_what_is_appended_is_read_from_anywhere(self, open_ledger: Open) -> None:
        """Every commit comes back to the last character, after any number that is there."""
        ledger = open_ledger()
        commits = [added(ledger, f"ä-日本-{number}") for number in range(5)]
        for after in range(6):
            found = list(open_ledger().read(after))
            assert [each.body for each in found] == [each.body for each in commits[after:]]
        assert open_ledger().head() == commits[-1].head

    def test_reading_after_a_commit_that_is_not_there_is_damage(self, open_ledger: Open) -> None:
        """Who saw it before must learn that it is gone."""
        ledger = open_ledger()
        added(ledger, "one")
        with pytest.raises(LedgerDamagedError):
            list(ledger.read(7))

    def test_a_taken_number_is_a_conflict_and_changes_nothing(self, open_ledger: Open) -> None:
        """The second commit of a number raises `LedgerConflict`, whatever handle adds it."""
        ledger, other = open_ledger(), open_ledger()
        late = next_commit(other.head(), [event("late")])
        kept = added(ledger, "kept")
        for handle in (ledger, other):
            with pytest.raises(LedgerConflict):
                handle.append(late)
            assert [each.id for each in handle.read()] == [kept.id], "a refused commit must change nothing"

    def test_another_handle_sees_a_commit_at_once(self, open_ledger: Open) -> None:
        """No handle answers from what it knew before."""
        ledger, other = open_ledger(), open_ledger()
        for number in range(4):
            assert other.head().seq == number
            commit = added(ledger, str(number))
            assert other.head() == commit.head, "head() must see what another handle has just added"
            assert [each.id for each in other.read(number)] == [commit.id]

    def test_a_huge_commit_is_whole(self, open_ledger: Open) -> None:
        """Some megabytes come back as they were."""
        commit = added(open_ledger(), "x" * (4 << 20))
        assert next(iter(open_ledger().read())).body == commit.body

    def test_of_24_threads_one_adds_a_number(self, open_ledger: Open) -> None:
        """Of commits with one number exactly one is added; the others raise `LedgerConflict`."""
        handles = [open_ledger() for _ in range(THREADS)]
        for _ in range(self.rounds):
            start, head = threading.Barrier(THREADS), handles[0].head()

            def attempt(handle: Any, start: threading.Barrier = start, head: Head = head) -> str | None:
                commit = next_commit(head, [event("x")])
                start.wait()
                try:
                    handle.append(commit)
                except LedgerConflict:
                    return None
                return commit.id

            with ThreadPoolExecutor(THREADS) as pool:
                winners = [each for each in pool.map(attempt, handles) if each]
            stored = [each.id for each in open_ledger().read(head.seq)]
            assert len(winners) == 1, f"append() succeeded for {len(winners)} of {THREADS} threads; it must for one"
            assert stored == winners, "what was added is not what append() said"

    def test_every_success_is_there_once_and_readers_see_no_gap(self, open_ledger: Open) -> None:
        """Threads that try again until they win leave dense numbers; what a reader saw never goes away."""
        done, problems = threading.Event(), []
        reader = open_ledger()

        def watch() -> None:
            seen: list[str] = []
            while not done.is_set():
                now = [each.id for each in reader.read()]
                if now[: len(seen)] != seen:
                    problems.append("a commit vanished")
                seen = now

        def add(_: int) -> list[str]:
            ledger = open_ledger()
            return [persistent(ledger).id for _ in range(self.rounds)]

        with ThreadPoolExecutor(9) as pool:
            watching = pool.submit(watch)
            try:
                mine = [each for ids in pool.map(add, range(8)) for each in ids]
            finally:
                done.set()
            watching.result()
        stored = list(open_ledger().read())
        assert problems == []
        assert [each.seq for each in stored] == [*range(1, len(mine) + 1)], "numbers must be dense"
        assert sorted(each.id for each in stored) == sorted(mine), "every success must be there exactly once"

    def test_a_commit_appears_whole(self, open_ledger: Open) -> None:
        """A reader that looks all the time while some megabytes are added sees nothing of them, or all."""
        reader, looking, done = open_ledger(), threading.Event(), threading.Event()

        def watch(after: int) -> str:
            try:
                while not list(reader.read(after)) and not done.is_set():  # read little, and look often
                    looking.set()
            except LedgerDamagedError as exc:
                return str(exc)
            finally:
                looking.set()
            return ""

        with ThreadPoolExecutor(1) as pool, quick_switches():
            for _ in range(self.rounds):
                looking.clear()
                done.clear()
                watching = pool.submit(watch, persistent(open_ledger()).seq)
                looking.wait()
                try:
                    persistent(open_ledger(), "x" * (4 << 20))
                finally:
                    done.set()
                assert watching.result() == "", "a reader saw a commit that was not yet whole"

    @pytest.mark.parametrize("kind", ["altered", "missing"])
    def test_damage_is_named(self, open_ledger: Open, kind: str) -> None:
        """Reading raises `LedgerDamagedError` that names the number."""
        for number in range(4):
            added(open_ledger(), str(number))
        self.damage(kind, 2)
        with pytest.raises(LedgerDamagedError, match=r"\b2\b"):
            list(open_ledger().read())

    def test_of_24_threads_one_gets_a_lease(self, open_ledger: Open) -> None:
        """Exactly one takes a lease that is free or has expired."""
        self._needs_leases()
        handles = [open_ledger() for _ in range(THREADS)]
        for number in range(self.rounds):
            start = threading.Barrier(THREADS)
            handles[0].lease(f"run-{number}", "dead", 0)

            def take(who: int, number: int = number, start: threading.Barrier = start) -> bool:
                start.wait()
                return bool(handles[who].lease(f"run-{number}", f"w{who}", 600))

            with ThreadPoolExecutor(THREADS) as pool:
                winners = [who for who, won in enumerate(pool.map(take, range(THREADS))) if won]
            assert len(winners) == 1, f"a lease was granted to {len(winners)} of {THREADS} threads"
            assert open_ledger().holder(f"run-{number}") == f"w{winners[0]}"
