"""The text behind loaded code, used only where compiling it gives exactly the code that is loaded."""

from __future__ import annotations

import __future__

import ast
import functools
import importlib.util
import warnings
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType

import attrs

from drystone.bytecodes import Chain, bindings, form, loads

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef


@attrs.frozen
class Described:
    """What a function is made of.

    Attributes:
        form: The same for functions that differ in comments, docstrings or formatting only.
        text: Its source, for people.
        edited: The file no longer says what is loaded, so nobody can know what the text is worth.
    """

    form: str
    text: str | None = None
    edited: bool = False


@attrs.frozen
class Slice:
    """The statements of a module behind one of its names.

    Attributes:
        form: Free of layout.
        text: For people.
        names: Other names of the same module that they read.
        imports: What they read of other modules.
    """

    form: str
    text: str
    names: tuple[str, ...]
    imports: tuple[Chain, ...]


class SourceFile:
    """One text of one file, compiled as it is and as if each part of each statement stood on a line of its own.

    What the compiler makes of a text depends a little on where its lines break; the second time, it cannot.
    """

    def __init__(self, content: bytes, path: str) -> None:
        self.content = content
        self._lines = importlib.util.decode_source(content).splitlines()
        self._codes: dict[str, list[tuple[CodeType, CodeType]]] = {}
        self._ends: dict[tuple[int, str], int] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(content)
        self._statements = [(each, *_span(each)) for each in tree.body]
        compiled = _compiled(content, path)
        self._spread(tree)
        try:
            self.module = _compiled(tree, path)
        except RecursionError:
            self.module = compiled
        for code, even in zip(_nested(compiled), _nested(self.module), strict=True):
            self._codes.setdefault(code.co_qualname, []).append((code, even))

    def _spread(self, tree: ast.Module) -> None:
        for number, node in enumerate(ast.walk(tree), start=1):
            if isinstance(node, _Definition):
                first, last = _span(node)
                self._ends[first, getattr(node, "name", "<lambda>")] = last
            if hasattr(node, "lineno"):
                vars(node).update(lineno=number, end_lineno=number, col_offset=0, end_col_offset=0)

    def describe(self, code: CodeType) -> Described | None:
        """The function of this file that a loaded code object was compiled of; None if there is none."""
        named = self._codes.get(code.co_qualname, [])
        same = [pair for pair in named if pair[0] == code] or [pair for pair in named if form(pair[0]) == form(code)]
        if not same:
            return None
        compiled, even = min(same, key=lambda pair: pair[0].co_firstlineno != code.co_firstlineno)
        return Described(form(even), self._text(compiled))

    def class_text(self, cls: type) -> str | None:
        """The lines of the class of that name, if there is one and only one."""
        named = self._codes.get(cls.__qualname__, [])
        return self._text(named[0][0]) if len(named) == 1 else None

    def _text(self, code: CodeType) -> str:
        first = code.co_firstlineno
        return "\n".join(self._lines[first - 1 : self._ends.get((first, code.co_name), first)])

    @functools.cached_property
    def parts(self) -> list[tuple[CodeType, set[str], str]]:
        """The statements of the module that do more than import: compiled, with the names they bind and their text."""
        found = []
        for node, first, last in self._statements:
            code = _compiled(ast.Module([node], []), "", self.module.co_flags & __future__.annotations.compiler_flag)
            if form(code) != _NOTHING and not isinstance(node, ast.Import | ast.ImportFrom):
                found.append((code, bindings(code)[0], "\n".join(self._lines[first - 1 : last])))
        return found


@functools.lru_cache(maxsize=4096)
def sliced(file: SourceFile, name: str | None) -> Slice:
    """The statements that bind a name or change what it holds; of the whole module if it binds no such name."""
    imports = bindings(file.module)[1]
    wanted = [part for part in file.parts if name in part[1] or (not part[1] and name in _names(part[0]))]
    if not wanted and name in imports:
        return Slice("import", "", (), tuple(imports[name]))
    chosen = wanted or file.parts
    read = list(dict.fromkeys(chain for code, _, _ in chosen for chain in loads(code)))
    bound = set().union(*(names for _, names, _ in file.parts)) - {name}
    taken: list[Chain] = []
    for chain in read:
        bases = [] if chain.scope == "import" else imports.get(chain.name, [])
        taken += [attrs.evolve(base, attributes=base.attributes + chain.attributes) for base in bases] or [chain]
    return Slice(
        form="\n".join(form(code) for code, _, _ in chosen),
        text="\n\n".join(text for _, _, text in chosen),
        names=tuple(dict.fromkeys(chain.name for chain in read if chain.scope != "import" and chain.name in bound)),
        imports=(*(chain for chain in taken if chain.scope == "import"), *imports.get("*", ())),
    )


class Sources:
    """The files of one plan: each is read once, and parsed only if its text is new to this process."""

    def __init__(self) -> None:
        self._opened: dict[str, SourceFile | None] = {}

    def open(self, path: str | None) -> SourceFile | None:
        """A file as it is now; None if it is missing or is not Python."""
        if path is None or not path.endswith(".py"):
            return None
        if path not in self._opened:
            self._opened[path] = _parsed(path)
        return self._opened[path]

    def describe(self, function: FunctionType) -> Described:
        """What a loaded function is made of."""
        names, code = function.__globals__, function.__code__
        path = names.get("__file__")
        if not isinstance(path, str) or Path(path).name != Path(code.co_filename).name or not Path(path).is_file():
            return Described(form(code))
        file = self.open(path)
        found = file.describe(code) if file is not None else None
        if found is not None:
            return found
        loader = getattr(names.get("__spec__"), "loader", None) or names.get("__loader__")
        # Others than Python's own loader do not take a file as it is: pytest rewrites what it imports.
        return Described(form(code), edited=type(loader) is SourceFileLoader)


_files: dict[str, SourceFile] = {}
_NOTHING = form(compile("", "", "exec"))


def _compiled(tree: ast.Module | bytes, path: str, flags: int = 0) -> CodeType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile(tree, path, "exec", flags, dont_inherit=True)


def _parsed(path: str) -> SourceFile | None:
    try:
        content = Path(path).read_bytes()
        known = _files.get(path)
        if known is None or known.content != content:
            known = _files[path] = SourceFile(content, path)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    return known


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _nested(const)


def _span(node: ast.stmt | ast.Lambda) -> tuple[int, int]:
    """The first line of a node, its decorators included, and the last."""
    decorators = getattr(node, "decorator_list", None)
    return (decorators[0] if decorators else node).lineno, node.end_lineno or node.lineno


def _names(code: CodeType) -> set[str]:
    return {chain.name for chain in loads(code)}
