"""The ledger is a chain: nothing in it can be changed, dropped or slipped in unnoticed."""

import sqlite3

import pytest

from drystone.errors import FormatError, LedgerConflict, LedgerDamagedError
from drystone.ledgers import FORMAT, Head, SQLiteLedger, checked_commit, next_commit


def commit_after(head, *names):
    events = [
        {"type": "record.tagged", "v": 1, "critical": True, "kind": "run", "record": n, "tags": {}} for n in names
    ]
    return next_commit(head, events, author="here")


@pytest.fixture
def ledger():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    made = SQLiteLedger(connection)
    made.create()
    yield made
    connection.close()


@pytest.fixture
def filled(ledger):
    for name in "abc":
        ledger.append(commit_after(ledger.head(), name))
    return ledger


def test_an_empty_ledger_has_a_head(ledger):
    assert ledger.head() == Head()
    assert list(ledger.read()) == []


def test_commits_are_read_as_they_were_written(ledger):
    first = commit_after(ledger.head(), "a", "ü\udcff")
    ledger.append(first)
    second = commit_after(ledger.head())
    ledger.append(second)
    assert list(ledger.read()) == [first, second]
    assert [commit.digest for commit in ledger.read()] == [first.digest, second.digest]
    assert list(ledger.read(1)) == [second]
    assert ledger.head() == second.head


def test_time_never_goes_back():
    future = Head(1, "d", "2999-01-01T00:00:00.000000+00:00")
    assert commit_after(future).at == future.at


def test_a_taken_number_is_a_conflict(filled):
    late = commit_after(Head())
    with pytest.raises(LedgerConflict, match="Commit 1 exists"):
        filled.append(late)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE commits SET body = replace(body, 'here', 'elsewhere') WHERE seq = 2", "Commit 2 .* altered"),
        ("DELETE FROM commits WHERE seq = 2", "Commit 2 .* missing"),
        ("UPDATE commits SET body = 'x' WHERE seq = 2", "no commit"),
        ("UPDATE commits SET seq = 4 WHERE seq = 3", "altered"),
    ],
)
def test_damage_is_found_when_reading(filled, change, message):
    filled._connection.execute(change)
    with pytest.raises(LedgerDamagedError, match=message):
        list(filled.read())


def test_a_foreign_commit_is_found(filled):
    foreign = commit_after(Head(1, "another chain"))
    filled._connection.execute("UPDATE commits SET digest = ?, body = ? WHERE seq = 2", (foreign.digest, foreign.body))
    with pytest.raises(LedgerDamagedError, match="altered or foreign"):
        list(filled.read())


def test_an_altered_last_commit_is_no_head(filled):
    filled._connection.execute("UPDATE commits SET body = replace(body, 'here', 'elsewhere') WHERE seq = 3")
    with pytest.raises(LedgerDamagedError, match="Commit 3"):
        SQLiteLedger(filled._connection).head()


def test_another_format_is_refused(ledger):
    ledger._connection.execute("UPDATE format SET number = ?", (FORMAT + 1,))
    with pytest.raises(FormatError, match=r"format 2.*pip install -U drystone-core"):
        ledger.create()


@pytest.mark.parametrize("body", [b'{"seq": 1}', b"5", b"\xff", b"[" * 100_000, b"\x00"])
def test_text_that_is_no_commit_is_named(body):
    with pytest.raises(LedgerDamagedError, match=r"Commit 7 of the ledger is altered: .* is no commit.*backup"):
        checked_commit(7, b"d", body)
