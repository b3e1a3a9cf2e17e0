"""What commands print: tables and fields, with rich on a terminal and as aligned text in a pipe."""

from __future__ import annotations

import contextlib
import datetime
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from drystone_cli.records import to_json

if TYPE_CHECKING:
    from rich.text import Text

TAG = "$"
"""The key of what JSON has no word for, such as dates; what it consists of stands beside it, under `v`."""

Column = tuple[str, Callable[[Any], Any]]
"""A title, and what to take from a record."""

STYLES = {
    "succeeded": "green",
    "production": "bold green",
    "active": "green",
    "cached": "cyan",
    "running": "blue",
    "run": "yellow",
    "maybe": "magenta",
    "failed": "red",
    "crashed": "bold red",
    "broken": "bold red",
    "cancelled": "yellow",
    "skipped": "dim",
    "pending": "dim",
    "blocked": "dim",
}

STDOUT = "drystone_cli.stdout"
"""Where a command that was called with `--json` finds the stream for its records."""


def _set_aside(ctx: click.Context, param: click.Parameter, as_json: bool) -> bool:
    """Let whatever else is printed, such as by modules of the project, go to stderr."""
    if as_json:
        ctx.meta[STDOUT] = sys.stdout
        ctx.with_resource(contextlib.redirect_stdout(sys.stderr))
    return as_json


json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_set_aside, help="Print an array of records, and nothing else."
)

limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Show at most this many."
)


def on_terminal() -> bool:
    """Whether somebody looks at what is printed."""
    return sys.stdout.isatty()


def listing(
    records: Sequence[Any], columns: Sequence[Column], *, as_json: bool, limit: int | None = None, empty: str = ""
) -> None:
    """Print records as a table, or as JSON.

    Args:
        records: One more than `limit` where there are more; it is not shown, but mentioned.
        columns: What the table shows.
        as_json: Print the records themselves.
        limit: How many to show.
        empty: What to say, on stderr, where there are none.
    """
    shown = records[:limit]
    if as_json:
        print_json(shown)
        return
    if shown:
        table([title for title, _ in columns], [[value(record) for _, value in columns] for record in shown])
    elif empty:
        print(empty, file=sys.stderr)
    if len(records) > len(shown):
        print(f"There are more: --limit {2 * len(shown)} shows further ones.", file=sys.stderr)


def print_json(records: Iterable[Any]) -> None:
    """Print an array of records."""
    context = click.get_current_context(silent=True)
    print(to_json(records), file=context.meta.get(STDOUT) if context else None)


def answer(record: Any, text: str, *, as_json: bool) -> None:
    """Print a record as JSON, or else what a sentence says of it."""
    if as_json:
        print_json([record])
    else:
        print(text)


def table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table."""
    _print_rows([[shown(cell) for cell in row] for row in rows], titles)


def fields(values: Mapping[str, Any]) -> None:
    """Print names with their values, those without a value left out."""
    texts = {f"{name}:": shown(value) for name, value in values.items()}
    _print_rows([[name, text] for name, text in texts.items() if text])


def heading(text: str) -> None:
    """Print a line above a table, with an empty one before it."""
    print()
    if on_terminal():
        console().print(styled(text, "bold"))
    else:
        print(text)


def reasons(text: str) -> None:
    """Print what is said of steps and their causes, coloured on a terminal."""
    if not on_terminal():
        print(text)
        return
    terminal = console()
    for line in text.splitlines():
        terminal.print(styled(line, _reason_style(line)), soft_wrap=True)


def _reason_style(line: str) -> str:
    """The colour of a line: of a step's status, or of an added or removed line of code."""
    words = line.split()
    if line.startswith("  ") and not line.startswith("   ") and len(words) > 1:
        return STYLES.get(words[1], "")
    first = words[0][0] if words else ""
    return {"+": "green", "-": "red", "@": "dim"}.get(first, "") if line.startswith("        ") else ""


def shown(value: Any, *, inside: bool = False) -> str:
    """A value as a cell shows it; a container inside another one has brackets."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime.datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        if TAG in value:
            return _tagged(value[TAG], value["v"], inside)
        text = ", ".join(
            str(key) if item is True else f"{key}={shown(item, inside=True)}" for key, item in value.items()
        )
        return f"{{{text}}}" if inside else text
    if isinstance(value, list | tuple):
        text = ", ".join(shown(item, inside=True) for item in value)
        return f"[{text}]" if inside else text
    return str(value)


def _tagged(tag: str, parts: Any, inside: bool) -> str:
    """What JSON has no word for, as people write it."""
    if tag == "dict":
        return shown({shown(key): item for key, item in parts}, inside=inside)
    if tag in ("datetime:date", "datetime:timedelta"):
        return str(getattr(datetime, tag.partition(":")[2])(*parts))
    is_container = tag in ("tuple", "set", "frozenset") or not isinstance(parts, list)
    if not is_container and (len(parts) == 1 or tag.startswith("datetime:")):
        return shown(parts[0])
    return shown(parts, inside=inside)


def duration(record: Any) -> str:
    """How long a run or step took."""
    if record.started_at is None or record.ended_at is None:
        return ""
    return seconds((record.ended_at - record.started_at).total_seconds())


def seconds(number: float) -> str:
    """A time span for people."""
    if number < 60:
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(number: int) -> str:
    """A number of bytes for people."""
    amount = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def styled(text: str, style: str | None = None) -> Text:
    """Text for the terminal, in the style of what it says unless another is given."""
    from rich.text import Text

    return Text(text, style=STYLES.get(text, "") if style is None else style)


def console() -> Any:
    """A rich console that leaves numbers and quotes as they are."""
    from rich.console import Console

    return Console(highlight=False)


def _print_rows(rows: list[list[str]], titles: Sequence[str] = ()) -> None:
    """Print rows below each other, below their titles if they have any."""
    if not on_terminal():
        _plain_table([list(titles), *rows] if titles else rows)
        return
    from rich.table import Table

    grid = Table(box=None, show_header=bool(titles), header_style="bold dim", pad_edge=False, padding=(0, 2, 0, 0))
    for title in titles or ("", ""):
        grid.add_column(styled(title, ""), overflow="fold")  # as text: a string may hold markup
    for row in rows:
        grid.add_row(*map(styled, row))
    console().print(grid)


def _plain_table(rows: list[list[str]]) -> None:
    """Columns of equal width, two blanks apart; line breaks in a cell become blanks."""
    flat = [[" ".join(cell.split()) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in flat) for index in range(len(flat[0]))] if flat else []
    for row in flat:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
