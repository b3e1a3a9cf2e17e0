"""What is printed, and records as JSON."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path

import pytest

from drystone import ArtifactVersion
from drystone.errors import suggestion
from drystone.values import to_json as to_json_value
from drystone_cli import tables
from drystone_cli.records import plain, to_json

COLUMNS = [("NAME", lambda record: record["name"]), ("VALUE", lambda record: record["value"])]
RECORDS = [{"name": "a", "value": 1}, {"name": "longer", "value": None}, {"name": "c", "value": 0.25}]


def test_a_pipe_gets_aligned_text_without_colours(capsys):
    tables.listing(RECORDS, COLUMNS, as_json=False)
    assert capsys.readouterr().out == "NAME    VALUE\na       1\nlonger\nc       0.25\n"


def test_json_is_an_array_of_the_records(capsys):
    tables.listing(RECORDS, COLUMNS, as_json=True)
    assert json.loads(capsys.readouterr().out) == RECORDS


def test_json_of_nothing_is_an_empty_array(capsys):
    tables.listing([], COLUMNS, as_json=True, empty="Nothing.")
    assert capsys.readouterr() == ("[]\n", "")


def test_an_empty_table_says_so_beside_stdout(capsys):
    tables.listing([], COLUMNS, as_json=False, empty="Nothing.")
    assert capsys.readouterr() == ("", "Nothing.\n")


def test_more_than_the_limit_is_mentioned_and_not_shown(capsys):
    tables.listing(RECORDS, COLUMNS, as_json=False, limit=2)
    out, err = capsys.readouterr()
    assert "longer" in out
    assert "0.25" not in out
    assert err == "There are more: --limit 4 shows further ones.\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        ({"team": "ops", "new": True}, "team=ops, new"),
        (["a", 1], "a, 1"),
        (0.123456789, "0.123457"),
        ({"a": [1, 2], "b": {"c": [3]}}, "a=[1, 2], b={c=[3]}"),
    ],
)
def test_cells_are_for_people(value, text):
    assert tables.shown(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime.date(2026, 1, 31), "2026-01-31"),
        (datetime.datetime(2026, 1, 31, 12), "2026-01-31T12:00:00"),
        (datetime.time(12, 30), "12:30:00"),
        (datetime.timedelta(hours=30), "1 day, 6:00:00"),
        (decimal.Decimal("1.5"), "1.5"),
        (Path("a/b"), "a/b"),
        (float("inf"), "inf"),
        ((1, 2), "[1, 2]"),
        ((1,), "[1]"),
        (1 + 2j, "[1, 2]"),
        ({3}, "[3]"),
        ({1: 2.0}, "{1=2}"),
        ({"a": (1, [2])}, "{a=[1, [2]]}"),
    ],
)
def test_parameters_are_shown_as_people_write_them(value, text):
    assert tables.shown({"p": to_json_value(value)}) == f"p={text}"


def test_titles_and_cells_are_no_markup(capsys, monkeypatch):
    monkeypatch.setattr(tables, "on_terminal", lambda: True)
    tables.listing(["[/b]"], [("[/a]", str)], as_json=False)
    tables.fields({"[/c]": "[/d]"})
    assert capsys.readouterr().out.split() == ["[/a]", "[/b]", "[/c]:", "[/d]"]


def test_sizes_and_durations_are_for_people():
    assert [tables.size(number) for number in (12, 1536, 3 << 20)] == ["12 B", "1.5 KiB", "3.0 MiB"]
    assert [tables.seconds(number) for number in (0.25, 125, 7260)] == ["0.2 s", "2 min 5 s", "2 h 1 min"]


def test_records_keep_their_fields_and_hide_their_source(workspace):
    version = workspace.save_artifact([1, 2], "numbers", tags={"team": "ops"})
    assert isinstance(version, ArtifactVersion)
    found = plain(version)
    assert found["name"] == "numbers"
    assert found["digest"] == version.digest
    assert found["tags"] == {"team": "ops"}
    assert datetime.datetime.fromisoformat(found["created_at"]) == version.created_at
    assert not any("source" in name for name in found)
    assert json.loads(to_json([version])) == [found]


def test_suggestions_are_sentences():
    assert suggestion("runz", ["run"], "Commands") == " Did you mean 'run'? Commands: run."
