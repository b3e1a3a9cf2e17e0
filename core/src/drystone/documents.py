"""The documents of an index: the JSON of every record as it stands, in tables that are found by kind, name and tags.

The names of the tables carry the number of their schema: another schema is another set of tables, filled from the
ledger by whoever wants it.
"""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from drystone.errors import WorkspaceError
from drystone.serialization import to_text

PREFIX = "v4_"

SCHEMA = (
    "TABLE v4_position (seq INTEGER, digest TEXT)",
    """TABLE v4_documents (id INTEGER PRIMARY KEY, kind TEXT, name TEXT, parent TEXT, number INTEGER, status TEXT,
       run TEXT, key TEXT, ended INTEGER, epoch INTEGER, body TEXT)""",
    "UNIQUE INDEX v4_documents_name ON v4_documents (kind, name)",
    "INDEX v4_documents_kind ON v4_documents (kind)",
    "INDEX v4_documents_parent ON v4_documents (kind, parent, number)",
    "INDEX v4_documents_run ON v4_documents (run, kind) WHERE run IS NOT NULL",
    "INDEX v4_documents_running ON v4_documents (kind) WHERE status = 'running'",
    "INDEX v4_documents_key ON v4_documents (key, ended) WHERE key IS NOT NULL AND status = 'succeeded'",
    """INDEX v4_documents_complete ON v4_documents (parent, ended)
       WHERE kind = 'step' AND status IN ('succeeded', 'cached')""",
    """TABLE v4_links (kind TEXT, owner TEXT, number INTEGER, role TEXT, name TEXT, version INTEGER,
       PRIMARY KEY (kind, owner, number, name, version, role)) WITHOUT ROWID""",
    "INDEX v4_links_name ON v4_links (name, kind, version)",
    """TABLE v4_tags (kind TEXT, tag TEXT, value TEXT, name TEXT,
       PRIMARY KEY (kind, tag, value, name)) WITHOUT ROWID""",
)

MODEL_ITSELF = 0
"""Stands in links for a model as a whole, where otherwise the number of a version is."""

COLUMNS = ("parent", "number", "status", "run")
"""What documents are found by without being read."""

Document = dict[str, Any]
Fields = Mapping[str, Any]


@functools.cache
def _put(*columns: str) -> str:
    return f"""INSERT INTO v4_documents (kind, name, {", ".join(columns)}) VALUES (?, ?{", ?" * len(columns)})
               ON CONFLICT (kind, name) DO UPDATE SET {", ".join(f"{each} = excluded.{each}" for each in columns)}"""


class Documents:
    """Documents of runs, steps, artifact versions, models, model versions and code, and the links between them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute

    def create(self) -> None:
        """Make the tables where they are missing."""
        if not self.tables():
            for statement in SCHEMA:
                self._execute(f"CREATE {statement}")
            self._execute("INSERT INTO v4_position VALUES (0, '')")

    def clear(self) -> None:
        """Empty it, so that `catch_up` fills it anew."""
        for name in self.tables():
            self._execute(f"DROP TABLE {name}")
        self.create()

    def tables(self) -> list[str]:
        """The names of the tables that there are."""
        rows = self._execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        return [name for (name,) in rows if name.startswith(PREFIX)]

    def rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        """Every row of a table, to compare two indices, even if there is text in it that is none any more."""
        self._connection.text_factory = lambda text: text.decode(errors="replace")
        try:
            yield from self._execute(f"SELECT * FROM {table}")
        finally:
            self._connection.text_factory = str

    def put(self, kind: str, name: str, body: Fields, **columns: Any) -> None:
        """Write a document; columns that are not given stay as they are."""
        given = {"status": body.get("status"), **columns, "body": to_text(body)}
        self._execute(_put(*given), (kind, name, *given.values()))

    def put_new(self, kind: str, name: str, parent: str, number: int, body: Fields, **columns: Any) -> None:
        """Write a document with a number of its own; numbers are dense and never given twice."""
        following = self.next_number(kind, parent)
        if number != following:
            shown = kind.replace("_", " ")
            raise WorkspaceError(
                f"The next {shown} of {parent!r} has number {following}, so {number} cannot be recorded."
            )
        self.put(kind, name, body, parent=parent, number=number, **columns)
        self.tag(kind, name, body["tags"])

    def tag(self, kind: str, name: str, tags: Fields) -> None:
        """Make a document found by its tags."""
        for tag, value in tags.items():
            self._execute("INSERT OR IGNORE INTO v4_tags VALUES (?, ?, ?, ?)", (kind, tag, to_text(value), name))

    def untag(self, kind: str, name: str, tags: Fields) -> None:
        """Undo `tag`."""
        for tag, value in tags.items():
            row = (kind, tag, to_text(value), name)
            self._execute("DELETE FROM v4_tags WHERE kind = ? AND tag = ? AND value = ? AND name = ?", row)

    def link(self, kind: str, owner: str, number: int, role: str, name: str, version: int) -> None:
        """Note that a version of an artifact, or a run that ended with this commit, belongs to something."""
        row = (kind, owner, number, role, name, version)
        self._execute("INSERT OR IGNORE INTO v4_links VALUES (?, ?, ?, ?, ?, ?)", row)

    def get(self, kind: str, name: str) -> Document | None:
        """One document."""
        row = self._execute("SELECT body FROM v4_documents WHERE kind = ? AND name = ?", (kind, name)).fetchone()
        return json.loads(row[0]) if row else None

    def select(
        self,
        kind: str,
        facts: Fields = MappingProxyType({}),
        *,
        tag: str | None = None,
        order: str | None = None,
        limit: int | None = None,
    ) -> list[Document]:
        """Documents of a kind, the newest first.

        Args:
            kind: `run`, `step`, `artifact`, `model`, `model_version`, `move`, `code` or `source`.
            facts: What columns, or else fields of the body, must be; those that are None do not count.
            tag: `name` or `name=value`.
            order: A term of SQL.
            limit: How many at most.
        """
        clauses, values = ["kind = ?"], [kind]
        for column, value in facts.items():
            if value is not None:
                field = column if column in COLUMNS else f"json_extract(body, '$.{column}')"
                clauses.append(f"{field} = ?")
                values.append(value)
        if tag is not None:
            label, keyed, value = tag.partition("=")
            of_value = " AND value IN (?, ?)" if keyed else ""
            clauses.append(f"name IN (SELECT name FROM v4_tags WHERE kind = ? AND tag = ?{of_value})")
            values += [kind, label, *([to_text(value), value] if keyed else [])]  # text, or a number
        order = order or ("number DESC" if facts.get("parent") else "id DESC")  # the same, each by its own index
        query = f"SELECT body FROM v4_documents WHERE {' AND '.join(clauses)} ORDER BY {order} LIMIT ?"
        return [json.loads(body) for (body,) in self._execute(query, (*values, -1 if limit is None else limit))]

    def exists(self, kind: str, name: str) -> bool:
        """Whether there is such a document."""
        return self._one("SELECT 1 FROM v4_documents WHERE kind = ? AND name = ?", kind, name) is not None

    def names(self, kind: str) -> list[str]:
        """The names of every document of a kind, or of what numbers are counted by, the newest first."""
        column = "name" if kind in ("run", "model") else "parent"
        query = f"SELECT {column} FROM v4_documents WHERE kind = ? GROUP BY {column} ORDER BY max(id) DESC"
        return [name for (name,) in self._execute(query, (kind,))]

    def count(self, kind: str) -> int:
        """How many documents of a kind there are."""
        return int(self._one("SELECT count(*) FROM v4_documents WHERE kind = ?", kind))

    def _one(self, query: str, *values: Any) -> Any:
        row = self._execute(query, values).fetchone()
        return row[0] if row else None

    def last_number(self, kind: str, parent: str) -> int:
        """The highest number given so far: of a `run` of a pipeline, an `artifact` or a `model_version`; or 0."""
        return self._one("SELECT max(number) FROM v4_documents WHERE kind = ? AND parent = ?", kind, parent) or 0

    def next_number(self, kind: str, parent: str) -> int:
        """The number after that; it stays the same until it is committed."""
        return self.last_number(kind, parent) + 1
