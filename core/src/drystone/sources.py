"""What the code of functions and modules says, whatever the layout of its text, and what it reaches from outside.

Compiled code is asked, not text. The text is compiled again to see whether it still is that of the loaded code, and to
free what is compiled of the last traces of layout.
"""

from __future__ import annotations

import ast
import bisect
import dis
import functools
import importlib.util
import re
import warnings
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import attrs

from drystone.digests import digest_bytes, encode, frame

_LAYOUT = {"EXTENDED_ARG", "CACHE", "NOP", "RESUME"}
_UNSAID = {"__doc__", "__firstlineno__", "__static_attributes__"}
"""What the body of a class notes of itself, and what it does does not depend on."""

_HAS_DOCSTRING = 0x4000000
_LOADS = re.compile("LOAD_(GLOBAL|NAME|FROM_DICT|DEREF|CLASSDEREF|FAST)")
_FAST = re.compile("(?:LOAD|STORE)_FAST(?:_BORROW)?")


@attrs.frozen
class Chain:
    """A name that code loads, and the attributes it takes of it at once, as in `settings.rates.vat`.

    Attributes:
        scope: `global`; `free` for a closure variable; `import` for a module that the code itself imports.
        name: The variable, or the module, with leading dots if the import is relative.
    """

    scope: str
    name: str
    attributes: tuple[str, ...] = ()


def form(code: CodeType) -> str:
    """A digest of what code does: the same for texts that differ in comments, docstrings and blank lines.

    Line breaks within a statement can change what the compiler makes of it: see `SourceFile`.
    """
    operations = _operations(code)
    place = functools.partial(bisect.bisect_left, [each.offset for each in operations])
    handlers = getattr(dis.Bytecode(code), "exception_entries", ())
    outline = (
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~_HAS_DOCSTRING),
        (code.co_varnames, code.co_freevars, code.co_cellvars),
        [(place(each.start), place(each.end), place(each.target), each.depth, each.lasti) for each in handlers],
    )
    parts = [repr(outline).encode()]
    for each in operations:
        argument = each.argval
        if isinstance(argument, CodeType):
            argument = form(argument)
        elif each.opcode in dis.hasjrel or each.opcode in dis.hasjabs:
            argument = place(argument)
        parts += [each.opname.encode(), encode(argument) if each.opcode in dis.hasconst else repr(argument).encode()]
    return digest_bytes(frame(b"code", *parts))


def loads(code: CodeType) -> tuple[Chain, ...]:
    """Everything that code and the code nested in it load from outside, each once."""
    return tuple(dict.fromkeys(_loaded(code, set(code.co_freevars), {})))


def _loaded(code: CodeType, free: set[str], imported: dict[str, list[Chain]]) -> Iterator[Chain]:
    operations, own = _operations(code), _imports(_operations(code))
    free = free.intersection(code.co_freevars)
    imported = {name: found for name, found in imported.items() if name in code.co_freevars} | own
    cells = {*code.co_cellvars, *code.co_freevars}  # passed on to nested code by LOAD_FAST since Python 3.13
    attributes: tuple[str, ...] = ()
    for each in reversed(operations):
        if each.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            attributes = (each.argval, *attributes)
            continue
        if _LOADS.match(each.opname) and not (each.opcode in dis.haslocal and each.argval in cells):
            for base in imported.get(each.argval, ()):
                yield attrs.evolve(base, attributes=base.attributes + attributes)
            if each.opcode in dis.hasname:
                yield Chain("global", each.argval, attributes)
            elif each.argval in free:
                yield Chain("free", each.argval, attributes)
        attributes = ()
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _loaded(const, free, imported)
    used = {each.argval for inner in _nested(code) for each in _operations(inner) if _LOADS.match(each.opname)}
    for name, bases in own.items():  # what is not used is imported for what importing it does
        yield from bases if name.partition(".")[0] not in used else ()


def _imports(operations: list[dis.Instruction]) -> dict[str, list[Chain]]:
    """The variables that import statements bind, and to what; of `import a.b`, also `a.b` by this name."""
    bound: dict[str, list[Chain]] = {}
    module, names, current = "", None, None
    for index, each in enumerate(operations):
        if each.opname == "IMPORT_NAME":
            level, names = operations[index - 2].argval, operations[index - 1].argval
            module = "." * level + each.argval
            current = Chain("import", module if names else module.partition(".")[0])
            if names == ("*",):
                bound.setdefault("*", []).append(current)
                current = None
        elif each.opname == "IMPORT_FROM":
            current = Chain("import", module, (each.argval,) if names else ())
        elif current is not None and each.opname.startswith("STORE_"):
            bound.setdefault(each.argval, []).append(current)
            if names is None and current.name != module:
                bound.setdefault(module, []).append(Chain("import", module))
            current = None
    return bound


@functools.lru_cache(maxsize=256)
def _operations(code: CodeType) -> list[dis.Instruction]:
    """The instructions, without those that only mark lines, and with their arguments looked up."""
    found: list[dis.Instruction] = []
    for each in dis.get_instructions(code):
        if each.opname == "STORE_NAME" and each.argval in _UNSAID and found[-1].opname == "LOAD_CONST":
            found.pop()
        elif "_FAST" in each.opname and isinstance(each.argval, tuple):  # one for two, where both stand on one line
            pairs = zip(_FAST.findall(each.opname), each.argval, strict=True)
            found += [each._replace(opname=opname, argval=argval) for opname, argval in pairs]
        elif each.opname == "KW_NAMES":  # which dis leaves unknown
            found.append(each._replace(argval=code.co_consts[each.arg or 0]))
        elif each.opname not in _LAYOUT:
            found.append(each)
    return found


@attrs.frozen
class Described:
    """What a function, or a name of a module, is made of.

    Attributes:
        form: The same for texts that differ in comments, docstrings or formatting only.
        text: For people.
        chains: What it loads from outside.
        edited: The file no longer says what is loaded, so nobody can know what the text is worth.
    """

    form: str
    text: str | None = None
    chains: tuple[Chain, ...] = ()
    edited: bool = False


@attrs.frozen
class Statement:
    """One of a module's own statements.

    Attributes:
        described: What it is made of.
        binds: The names it binds.
        defines: Whether that is all it is for: it is a class, or a function without decorators.
        acts: Whether running it may change what names hold that it does not bind.
        touches: The names of the module that it, or a function in it, reads or sets.
    """

    described: Described
    binds: set[str]
    defines: bool
    acts: bool
    touches: set[str]


class SourceFile:
    """One text of one file, compiled as it is and as if each part of each statement stood on a line of its own.

    What the compiler makes of a text depends a little on where its lines break; the second time, it cannot.
    """

    def __init__(self, path: str, content: bytes) -> None:
        self._content = content
        self._lines = importlib.util.decode_source(content).splitlines()
        compiled = self._module = _compiled(content, path)
        self.is_deep = False  # too deep for its tree to be compiled
        try:
            self._module = _compiled(_spread(_compiled(content, path, ast.PyCF_ONLY_AST)), path)
        except RecursionError:
            self.is_deep = True
        self._described: dict[int, Described] = {}
        self._codes: dict[str, list[tuple[CodeType, CodeType]]] = {}
        for code, even in zip(_nested(compiled), _nested(self._module), strict=True):
            self._codes.setdefault(code.co_qualname, []).append((code, even))

    def is_in(self, path: str) -> bool:
        """Whether a file holds this text."""
        try:
            return Path(path).read_bytes() == self._content
        except OSError:
            return False

    def function(self, code: CodeType) -> Described | None:
        """The function of this file that a loaded code object was compiled of; None if there is none."""
        named = self._codes.get(code.co_qualname, [])
        # Before Python 3.11.2, code that differs in what its handlers guard only compares equal.
        same = [each for each in named if each[0] == code and each[0].co_exceptiontable == code.co_exceptiontable]
        same = same or [each for each in named if form(each[0]) == form(code)]
        if not same:
            return None
        compiled, even = min(same, key=lambda each: each[0].co_firstlineno != code.co_firstlineno)
        if id(compiled) not in self._described:
            self._described[id(compiled)] = Described(form(even), self._text(compiled), loads(even))
        return self._described[id(compiled)]

    def class_text(self, cls: type) -> str | None:
        """The lines of the class of that name, if there is one and only one."""
        named = self._codes.get(cls.__qualname__, [])
        return self._text(named[0][0]) if len(named) == 1 else None

    def statements(self, name: str | None) -> Described:
        """The statements that bind a name or change what it holds; all of the module if it binds no such name.

        Of the names of other modules that they read, the chains say where these come from.
        """
        imports = _imports(_operations(self._module))
        is_defined = all(each.defines for each in self._statements if name in each.binds)
        wanted = [
            each.described
            for each, reached in zip(self._statements, self._reached, strict=True)
            # What makes something of a function or class, and names it, does not change it.
            if name in each.binds or (name in reached and not (each.binds and is_defined))
        ]
        if not wanted and name in imports:
            return Described("import", "", tuple(imports[name]))
        parts = wanted or [each.described for each in self._statements]
        bound = self._touched.keys() - {name}
        chains = [*imports.get(name or "", ()), *imports.get("*", ())]
        for chain in [chain for part in parts for chain in part.chains]:
            bases = imports.get(chain.name, []) if chain.scope == "global" else []
            chains += [attrs.evolve(base, attributes=base.attributes + chain.attributes) for base in bases]
            chains += [chain] if chain.scope == "import" or chain.name in bound else []
        form, text = "\n".join(part.form for part in parts), "\n\n".join(part.text or "" for part in parts)
        return Described(form, text, tuple(dict.fromkeys(chains)))

    def binds(self, name: str) -> bool:
        """Whether the module gives a name a value of its own."""
        return name in self._touched or name in _imports(_operations(self._module))

    @functools.cached_property
    def _touched(self) -> dict[str, set[str]]:
        """What the statements that bind a name touch, by that name."""
        touched: dict[str, set[str]] = {}
        for each in self._statements:
            for name in each.binds:
                touched.setdefault(name, set()).update(each.touches)
        return touched

    @functools.cached_property
    def _reached(self) -> list[set[str]]:
        """What the statements touch, also by calling what they touch; of those that only define something nothing."""
        found = []
        for each in self._statements:
            reached: set[str] = set()
            pending = [each.touches] if each.acts else []
            while pending:
                new = pending.pop() - reached
                reached |= new
                pending += [self._touched[name] for name in new & self._touched.keys()]
            found.append(reached)
        return found

    @functools.cached_property
    def _statements(self) -> list[Statement]:
        """The statements of the module that do more than import."""
        flags = self._module.co_flags & annotations.compiler_flag  # of the import at the top
        tree = _compiled(self._content, "", ast.PyCF_ONLY_AST)
        statements = []
        for node in (node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)):
            text = "\n".join(self._lines[node.lineno - 1 : node.end_lineno])
            code = _compiled(_spread(ast.Module([node], [])), "", flags)
            if form(code) != _NOTHING:
                statements.append(_statement(node, code, text))
        return statements

    def _text(self, code: CodeType) -> str:
        last = max(end or 0 for each in _nested(code) for _, end, _, _ in each.co_positions())
        return "\n".join(self._lines[code.co_firstlineno - 1 : last])


class Sources:
    """The files of one plan: each is read once, and compiled only if its text is new to this process."""

    def __init__(self) -> None:
        self._opened: dict[str, SourceFile | None] = {}

    def open(self, path: str | None) -> SourceFile | None:
        """A file as it is now; None if it is missing or is not Python."""
        if path is None or not path.endswith(".py"):
            return None
        if path not in self._opened:
            try:
                self._opened[path] = _source_file(path, Path(path).read_bytes())
            except (OSError, SyntaxError, ValueError, RecursionError):
                self._opened[path] = None
        return self._opened[path]

    def changed(self) -> list[str]:
        """The files that hold something else by now."""
        return [path for path, file in self._opened.items() if file is not None and not file.is_in(path)]

    def function(self, function: FunctionType) -> Described:
        """What a loaded function is made of."""
        names, code = function.__globals__, function.__code__
        path = Path(names.get("__file__") or "")
        is_its_file = path.name == Path(code.co_filename).name and path.is_file()
        file = self.open(str(path)) if is_its_file else None
        found = file.function(code) if file is not None else None
        # Others than Python's own loader do not take a file as it is: pytest rewrites what it imports.
        loader = getattr(names.get("__spec__"), "loader", None) or names.get("__loader__")
        edited = is_its_file and type(loader) is SourceFileLoader
        return found or Described(form(code), None, loads(code), edited)


_NOTHING = form(compile("", "", "exec"))
_source_file = functools.lru_cache(maxsize=1024)(SourceFile)


def _compiled(source: ast.Module | bytes, path: str, flags: int = 0) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile(source, path, "exec", flags, dont_inherit=True)


def _statement(node: ast.stmt, code: CodeType, text: str) -> Statement:
    described, binds = Described(form(code), text, loads(code)), set(_stored(code, "STORE_NAME"))
    touches = {chain.name for chain in described.chains if chain.scope == "global"}
    touches.update(name for inner in _nested(code) for name in _stored(inner, "STORE_GLOBAL"))
    match node:
        case ast.FunctionDef(decorator_list=[]) | ast.AsyncFunctionDef(decorator_list=[]):
            defines, acts = True, False
        case ast.ClassDef():  # its bases are told of it
            defines, acts = True, bool(node.decorator_list or node.bases or node.keywords)
        case _:
            defines, acts = False, True
    return Statement(described, binds, defines, acts, touches)


def _stored(code: CodeType, opname: str) -> Iterator[str]:
    return (each.argval for each in _operations(code) if each.opname == opname)


def _spread(tree: ast.Module) -> ast.Module:
    """A tree with every node on a line of its own, in an order that only the tree decides."""
    for number, node in enumerate(ast.walk(tree), start=1):
        if hasattr(node, "lineno"):
            vars(node).update(lineno=number, end_lineno=number, col_offset=0, end_col_offset=0)
    return tree


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _nested(const)
