"""`drystone artifacts`: what was made."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import click

from drystone_cli import completion, counters, records, tables

COLUMNS: list[tables.Column] = [
    ("ARTIFACT", str),
    ("KIND", lambda version: version.kind),
    ("TYPE", lambda version: version.type),
    ("SIZE", lambda version: tables.size(version.size)),
    ("MADE BY", lambda version: maker(version)),
    ("CREATED", lambda version: version.created_at),
    ("TAGS", lambda version: version.tags),
]


@click.group()
def artifacts() -> None:
    """List, show, get and copy artifacts."""


@artifacts.command("list")
@click.option("--name", help="Only versions of this artifact.", shell_complete=completion.artifact_names)
@click.option("--tag", help="Only those with this tag: NAME, or NAME=VALUE.")
@click.option("--kind", help="Only those of this kind, such as data or model.")
@click.option("--run", help="Only those that this run made.", shell_complete=completion.run_names)
@tables.limit_option
@tables.json_option
def list_(limit: int, as_json: bool, **filters: Any) -> None:
    """List artifact versions, the newest first."""
    found = records.workspace().artifacts(limit=limit + 1, **filters)
    tables.listing(found, COLUMNS, as_json=as_json, limit=limit, empty="No such artifacts here.")


@artifacts.command()
@click.argument("reference", metavar="NAME[@VERSION]", shell_complete=completion.artifact_names)
@tables.json_option
def show(reference: str, as_json: bool) -> None:
    """Show one artifact version, the latest unless a number is given."""
    version = found(reference)
    if as_json:
        tables.print_json([version])
        return
    tables.fields(
        {
            "artifact": version,
            "kind": version.kind,
            "type": version.type,
            "materializer": version.materializer,
            "size": tables.size(version.size),
            "digest": version.digest,
            "made by": maker(version),
            "created": version.created_at,
            "tags": version.tags,
            "store": version.manifest.store,
        }
    )
    if version.metadata:
        tables.heading("Metadata")
        tables.fields(version.metadata)
    tables.heading("Files")
    tables.table(["PATH", "SIZE", "BLAKE3"], [[b.path, tables.size(b.size), b.digest] for b in version.manifest.blobs])


@artifacts.command()
@click.argument("reference", metavar="NAME[@VERSION]", shell_complete=completion.artifact_names)
@click.argument("target", type=click.Path(path_type=Path), required=False)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@tables.json_option
def get(reference: str, target: Path | None, force: bool, as_json: bool) -> None:
    """Copy the files of an artifact version to TARGET, a directory (default: one named after it)."""
    from drystone import BlobReader

    version = found(reference)
    directory = target or Path(f"{version.name}-{version.version}")
    paths = [inside(directory, blob.path) for blob in version.manifest.blobs]
    taken = [str(path) for path in paths if path.exists()]
    if taken and not force:
        raise click.UsageError(f"{', '.join(taken)} would be overwritten. Give another directory, or --force.")
    reader = BlobReader(records.workspace().store_for(version.manifest.store), version.manifest)
    try:
        for blob, path in zip(version.manifest.blobs, paths, strict=True):
            if blob.path.endswith("/"):  # how an empty directory is stored
                path.mkdir(parents=True, exist_ok=True)
            else:
                reader.copy(blob.path, path)
    except OSError as exc:
        raise click.ClickException(f"Copying to {directory} failed: {exc}. Another TARGET may do.") from exc
    if as_json:
        tables.print_json([{"artifact": str(version), "files": [str(path) for path in paths]}])
        return
    for path in paths:
        print(path)


@artifacts.command()
@click.argument("references", nargs=-1, metavar="[NAME[@VERSION]]…", shell_complete=completion.artifact_names)
@click.option(
    "-t",
    "--to",
    "--stack",
    "stack",
    required=True,
    metavar="STACK",
    help="The stack whose artifact store gets them.",
    shell_complete=completion.stack_names,
)
@tables.json_option
def push(references: tuple[str, ...], stack: str, as_json: bool) -> None:
    """Copy artifact versions to the store of a stack that others reach: the latest, all without a name.

    What the store has is not copied again, so it can be stopped and called again. Everybody who uses the workspace
    reads them from there then.
    """
    chosen = named(references)
    with counters.counter("pushing") as told:
        delivery = records.workspace().push(chosen, stack, told=told)
    answer(chosen, delivery, as_json)


@artifacts.command()
@click.argument("references", nargs=-1, metavar="[NAME[@VERSION]]…", shell_complete=completion.artifact_names)
@click.option(
    "-s",
    "--stack",
    metavar="STACK",
    help="The stack whose artifact store gets them (default: the active one).",
    shell_complete=completion.stack_names,
)
@tables.json_option
def pull(references: tuple[str, ...], stack: str | None, as_json: bool) -> None:
    """Copy artifact versions to the store of the active stack: the latest, all without a name."""
    chosen = named(references)
    with counters.counter("pulling") as told:
        delivery = records.workspace().pull(chosen, stack, told=told)
    answer(chosen, delivery, as_json)


def named(references: tuple[str, ...]) -> list[Any]:
    """The artifact versions that are named, or all there are."""
    return [found(each) for each in references] or records.workspace().artifacts(limit=None)


def answer(versions: list[Any], delivery: Any, as_json: bool) -> None:
    """Say what was copied."""
    record = {"artifacts": [str(each) for each in versions], "copied": len(delivery.copied), "size": delivery.size}
    tables.answer(record | {"there": delivery.there}, delivered(delivery), as_json=as_json)


def delivered(delivery: Any) -> str:
    """What became of blobs, for people."""
    return f"Blobs: {len(delivery.copied)} copied ({tables.size(delivery.size)}), {delivery.there} there already."


def found(reference: str) -> Any:
    """The artifact version that `NAME` or `NAME@VERSION` means."""
    name, at, number = reference.rpartition("@")
    if not at:
        return records.workspace().artifact(reference)
    if number != "latest" and not number.isdecimal():
        raise click.UsageError(f"{reference!r} names no version. Write NAME@3, NAME@latest, or the NAME alone.")
    return records.workspace().artifact(name, number if number == "latest" else int(number))


def inside(directory: Path, path: str) -> Path:
    """A path below a directory."""
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts:
        raise click.ClickException(f"It holds a file {path!r}, which would leave {directory}. Nothing was copied.")
    return directory.joinpath(*parts)


def maker(version: Any) -> str | None:
    """The run and step that made a version."""
    return None if version.produced_by is None else "/".join(each for each in version.produced_by if each)
