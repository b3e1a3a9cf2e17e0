"""`drystone stacks`: where pipelines can run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from drystone_cli import completion, records, tables


@click.group()
def stacks() -> None:
    """List, show, choose, check, compare and publish stacks."""


@stacks.command("list")
@tables.limit_option
@tables.json_option
def list_(limit: int, as_json: bool) -> None:
    """List the stacks of this project, of the installed plugins, and those published in the workspace."""
    from drystone import find_stacks
    from drystone.errors import DrystoneError

    found = find_stacks()
    try:
        active = found.active().name
    except DrystoneError as exc:  # what there is can be seen all the same
        active = ""
        click.echo(f"No stack is active. {exc}", err=True)
    rows = [_record(found, name, active) for name in found.names]
    columns: list[tables.Column] = [
        ("STACK", lambda record: record["name"]),
        ("ACTIVE", lambda record: "active" if record["active"] else None),
        ("COMPONENTS", _components),
        ("DEFINED IN", lambda record: record["source"]),
    ]
    tables.listing(rows, columns, as_json=as_json, limit=limit)


@stacks.command()
@click.argument("name", required=False, shell_complete=completion.stack_names)
@click.option("--history", is_flag=True, help="Show when it was published and by whom, the newest version first.")
@tables.json_option
def show(name: str | None, history: bool, as_json: bool) -> None:
    """Show a stack with its settings, the active one unless a name is given."""
    from drystone import find_stacks

    found = find_stacks()
    active = "" if name else found.active().name
    if history:
        _history(name or active, as_json)
        return
    record = _record(found, name or active, active or _active(found))
    if as_json:
        tables.print_json([record])
        return
    tables.fields({"stack": record["name"], "active": record["active"], "defined in": record["source"]})
    for label, component in _parts(record).items():
        tables.heading(f"{label}: {component['name']}")
        origin = f"{component['distribution']} {component['version']}" if component["distribution"] else None
        tables.fields({"class": component["class"], "from": origin, **component["settings"]})


def _history(name: str, as_json: bool) -> None:
    versions = records.workspace().stack_history(name)
    columns: list[tables.Column] = [
        ("VERSION", lambda each: each.number),
        ("AT", lambda each: each.at),
        ("BY", lambda each: each.author),
        ("COMPONENTS", lambda each: _components(each.describe()) if each.components else "withdrawn"),
    ]
    tables.listing(versions, columns, as_json=as_json, empty=f"The stack {name!r} was never published here.")


@stacks.command()
@click.argument("name", shell_complete=completion.stack_names)
@tables.json_option
def use(name: str, as_json: bool) -> None:
    """Choose the stack that is used from now on in this checkout."""
    from drystone import find_stacks

    found = find_stacks()
    found.use(name)
    active = found.active().name
    text = f"This checkout uses the stack {name!r} now."
    if active != name:
        text += f"\nBut DRYSTONE_STACK={os.environ.get('DRYSTONE_STACK')} goes before that, as long as it is set."
    tables.answer(_record(found, name, active), text, as_json=as_json)


@stacks.command()
@click.argument("names", nargs=-1, metavar="[NAME]…", shell_complete=completion.stack_names)
@click.option("--all", "of_all", is_flag=True, help="Check every stack there is.")
@tables.json_option
def check(names: Sequence[str], of_all: bool, as_json: bool) -> None:
    """Tell everything that keeps stacks from being used: the active one, unless others are named.

    Exits with 1 if there is anything.
    """
    from drystone import StackProblem, check_stacks, find_stacks, load_plugins
    from drystone.errors import DrystoneError

    checked: list[str] = []
    try:
        found = find_stacks()
        checked = [*names] or ([*found.names] if of_all else [found.active().name])
        problems = check_stacks(found, checked)
    except DrystoneError as exc:
        texts = dict.fromkeys([str(exc), *load_plugins().problems()])
        problems = [StackProblem("", "", text) for text in texts]
    if as_json:
        tables.print_json(problems)
    else:
        _print_problems(problems, checked)
    if problems:
        click.get_current_context().exit(1)


def _print_problems(problems: Sequence[Any], checked: Sequence[str]) -> None:
    """Print problems, those of a stack below its name and those of a component below its kind."""
    last: tuple[str, str] | None = None
    for each in sorted(problems, key=lambda each: each.stack):
        if last is None or last[0] != each.stack:
            print(each.stack or "project")
        if each.component and last != (each.stack, each.component):
            print(f"  {each.component}")
        first, *others = each.message.splitlines()
        indent = "    " if each.component else "  "
        print(f"{indent}- {first}", *(f"{indent}  {line}" for line in others), sep="\n")
        last = each.stack, each.component
    wrong = {each.stack for each in problems}
    fine = [name for name in checked if name not in wrong]
    if fine:
        print(f"Nothing is wrong with {', '.join(fine)}.")


@stacks.command()
@click.argument("before", metavar="NAME", shell_complete=completion.stack_names)
@click.argument("after", metavar="[OTHER]", required=False, shell_complete=completion.stack_names)
@click.option("--published", is_flag=True, help="Compare the stack with what is published under its name.")
@tables.json_option
def diff(before: str, after: str | None, published: bool, as_json: bool) -> None:
    """Tell what two stacks have differently, kind by kind and setting by setting.

    Exits with 0 if they are equal, and with 1 if they differ.
    """
    from drystone import find_stacks, stack_diff
    from drystone.errors import StackNotFoundError, suggestion

    if published == (after is not None):
        raise click.UsageError("Give two stacks, or one and --published.")
    found = find_stacks()
    if published and before not in found.published:
        hint = suggestion(before, found.published, "Published stacks")
        raise StackNotFoundError(f"No stack {before!r} is published in this workspace.{hint}")
    other = found.published[before].restore() if published else found.get(str(after))
    old, new = (other, found.get(before)) if published else (found.get(before), other)
    changes = stack_diff(old, new)
    if as_json:
        tables.print_json(changes)
    else:
        label = f"{before} and what is published" if published else f"{before} and {after}"
        print("\n".join(map(str, changes)) or f"{label} are equal.")
    if changes:
        click.get_current_context().exit(1)


@stacks.command()
@click.argument("name", shell_complete=completion.stack_names)
@tables.json_option
def publish(name: str, as_json: bool) -> None:
    """Let everybody who uses the workspace use a stack by its name, without the file that defines it."""
    from drystone import find_stacks

    version = records.workspace().publish(find_stacks().get(name))
    tables.answer(version, f"The stack {name!r} is {version.source}.", as_json=as_json)


@stacks.command()
@click.argument("name", shell_complete=completion.stack_names)
@tables.json_option
def unpublish(name: str, as_json: bool) -> None:
    """Withdraw a published stack. Its versions stay in its history."""
    version = records.workspace().unpublish(name)
    tables.answer(version, f"The stack {name!r} is no longer published.", as_json=as_json)


@stacks.command()
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file.")
@click.option("--pipeline", "targets", multiple=True, metavar="TARGET", help="Describe a pipeline, too.")
@tables.json_option
def doc(output: Path | None, targets: Sequence[str], as_json: bool) -> None:
    """Write a page about every stack, component and setting, and what pipelines need of them, in Markdown."""
    from drystone import find_pipeline, find_stacks, project_root, stacks_page

    page = stacks_page(find_stacks(), [find_pipeline(target, project_root()) for target in targets])
    try:
        if output is not None:
            output.write_text(page, encoding="utf-8")
    except OSError as exc:
        raise click.UsageError(f"{output} cannot be written: {exc.strerror}.") from exc
    text = page.rstrip() if output is None else f"The page is in {output}."
    tables.answer({"file": output, "page": page}, text, as_json=as_json)


def _active(found: Any) -> str:
    """The name of the active stack; empty where that cannot be found or made."""
    from drystone.errors import DrystoneError

    try:
        return str(found.active().name)
    except DrystoneError:
        return ""


def _record(found: Any, name: str, active: str) -> dict[str, Any]:
    return {**found.describe(name), "active": name == active, "source": found.source(name)}


def _components(record: dict[str, Any]) -> str:
    return ", ".join(f"{label}={component['name']}" for label, component in _parts(record).items())


def _parts(record: dict[str, Any]) -> dict[str, Any]:
    further = {f"step_orchestrators.{name}": each for name, each in record["step_orchestrators"].items()}
    return {**record["components"], **further}
