"""`drystone cache`: what is kept here of artifact stores elsewhere."""

from __future__ import annotations

import attrs
import click

from drystone_cli import tables


@click.group()
def cache() -> None:
    """Show and clear the local cache of artifacts that are stored elsewhere."""


@cache.command()
@tables.json_option
def info(as_json: bool) -> None:
    """Show where the cache is, how large it is, and how large it may become."""
    from drystone import blob_cache

    found = blob_cache().info()
    if as_json:
        tables.print_json([{**attrs.asdict(found), "path": str(found.path)}])
        return
    sizes = {"size": tables.size(found.size), "limit": tables.size(found.limit) if found.limit else "0, switched off"}
    tables.fields({"path": str(found.path), "files": found.files, **sizes})


@cache.command()
@tables.json_option
def clear(as_json: bool) -> None:
    """Remove what is in the cache, but for what is being read. What is needed again is downloaded again."""
    from drystone import blob_cache

    kept = blob_cache()
    before = kept.info().size
    kept.clear()
    freed = before - kept.info().size
    tables.answer({"freed": freed}, f"{tables.size(freed)} were freed.", as_json=as_json)
