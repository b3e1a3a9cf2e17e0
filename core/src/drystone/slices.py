"""What a module's text says of one name: for modules that a function imports only when it runs.

Whether such an import has happened yet must not change a digest, so loaded objects cannot be asked.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator

import attrs

from drystone.sources import SourceFile, dumped, undocumented

Import = tuple[str, tuple[str, ...]]
"""A module, with leading dots if it is relative, and what is taken of it."""


@attrs.frozen
class Slice:
    """The statements behind one name of a module.

    Attributes:
        form: Free of layout.
        text: For people.
        names: Other names of the same module that they read.
        imports: What they read of other modules.
    """

    form: bytes
    text: str
    names: tuple[str, ...]
    imports: tuple[Import, ...]


@functools.lru_cache(maxsize=4096)
def sliced(file: SourceFile, name: str | None) -> Slice:
    """The statements that bind a name or change what it holds; of the whole module if it binds no such name."""
    body = undocumented(file.tree)
    imports = _imports(file.tree)
    bound = {each: statements for statement in body for each, statements in _bound(statement)}
    wanted = [each for each in body if name in dict(_bound(each)) or _touches(each, name)]
    if not wanted and name in imports:
        return Slice(b"import", "", (), tuple(imports[name]))
    chosen = wanted or body
    loads = sorted({path for statement in chosen for path in _paths(statement)})
    return Slice(
        form="\n".join(dumped(each) for each in chosen if not _is_import(each)).encode("utf-8", "surrogatepass"),
        text="\n\n".join("\n".join(file.lines[each.lineno - 1 : each.end_lineno]) for each in chosen),
        names=tuple(sorted({path[0] for path in loads if path[0] in bound and path[0] != name})),
        imports=tuple((module, (*taken, *path[1:])) for path in loads for module, taken in imports.get(path[0], ()))
        + tuple(imports.get("*", ())),
    )


def _is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _bound(statement: ast.stmt) -> Iterator[tuple[str, ast.stmt]]:
    """The names that a statement of a module binds, those in functions inside it left out."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name, statement
    elif not _is_import(statement):
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id, statement
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield node.name, statement


def _touches(statement: ast.stmt, name: str | None) -> bool:
    """Whether a statement that binds nothing reads a name, and so may change what it holds."""
    return not _is_import(statement) and not dict(_bound(statement)) and any(p[0] == name for p in _paths(statement))


def _paths(statement: ast.AST) -> Iterator[tuple[str, ...]]:
    """The names that a statement reads, with the attributes it takes of them."""
    inner: set[int] = set()
    for node in ast.walk(statement):
        attributes: list[str] = []
        root: ast.AST = node
        while isinstance(root, ast.Attribute):
            attributes.insert(0, root.attr)
            root = root.value
            inner.add(id(root))
        if isinstance(root, ast.Name) and isinstance(root.ctx, ast.Load) and id(node) not in inner:
            yield (root.id, *attributes)


def _imports(tree: ast.Module) -> dict[str, list[Import]]:
    """What the import statements anywhere in a module bind; star imports under `*`."""
    bound: dict[str, list[Import]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                bound.setdefault(alias.asname or top, []).append((alias.name if alias.asname else top, ()))
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                taken = () if alias.name == "*" else (alias.name,)
                bound.setdefault(alias.asname or alias.name, []).append((module, taken))
    return bound
