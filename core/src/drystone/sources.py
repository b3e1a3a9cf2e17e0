"""The text behind loaded code, used only where compiling it gives exactly the code that is loaded."""

from __future__ import annotations

import ast
import copy
import importlib.util
import warnings
from collections.abc import Iterable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import attrs

from drystone.bytecodes import exact_form, normal_form
from drystone.origins import module_file

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
_DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
_IMMATERIAL = {"ctx", "kind", "type_comment", "type_ignores"}


@attrs.frozen
class Described:
    """What a function is made of.

    Attributes:
        form: The same for functions that differ in comments, docstrings or formatting only.
        text: Its source, for people.
        edited: The file no longer says what is loaded, so nobody can know what the text is worth.
    """

    form: bytes
    text: str | None = None
    edited: bool = False


class SourceFile:
    """One text of one file, compiled and parsed once."""

    def __init__(self, content: bytes, path: str) -> None:
        self.content = content
        text = importlib.util.decode_source(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.tree = ast.parse(text)
            compiled = compile(content, path, "exec", dont_inherit=True)
        self.lines = text.splitlines()
        self._codes: dict[str, list[CodeType]] = {}
        self._definitions: dict[tuple[int, str], list[Definition]] = {}
        self._described: dict[tuple[int, bool], tuple[CodeType, Described | None]] = {}
        for code in _nested(compiled):
            self._codes.setdefault(code.co_qualname, []).append(code)
        for node in ast.walk(self.tree):
            if isinstance(node, Definition):
                self._definitions.setdefault((_first_line(node), getattr(node, "name", "<lambda>")), []).append(node)

    def describe(self, code: CodeType, bare: bool) -> Described | None:
        """The definition that compiles to a loaded code object, without its decorators; None if there is none.

        Args:
            code: The loaded code.
            bare: Without the annotations of parameters and return value as well.
        """
        known = self._described.get((id(code), bare))
        if known is None:
            known = self._described[id(code), bare] = code, self._find(code, bare)
        return known[1]

    def _find(self, code: CodeType, bare: bool) -> Described | None:
        compiled = self._compiled(code)
        nodes = self._definitions.get((compiled.co_firstlineno, compiled.co_name), []) if compiled else []
        if not nodes:
            return None
        try:
            form = "\n".join(dumped(_undecorated(node, bare)) for node in nodes).encode("utf-8", "surrogatepass")
        except RecursionError:
            form = normal_form(code)
        return Described(form, self.text(nodes))

    def _compiled(self, code: CodeType) -> CodeType | None:
        named = self._codes.get(code.co_qualname, [])
        for form in (exact_form, normal_form):
            wanted = form(code)
            fitting = [each for each in named if form(each) == wanted]
            if fitting:
                return min(fitting, key=lambda each: each.co_firstlineno != code.co_firstlineno)
        return None

    def text(self, nodes: Iterable[Definition]) -> str:
        """The lines of some definitions."""
        spans = [(_first_line(node) - 1, node.end_lineno) for node in nodes]
        return "\n".join("\n".join(self.lines[first:last]) for first, last in dict.fromkeys(spans))

    def class_text(self, cls: type) -> str | None:
        """The lines of the class of that name, if there is one and only one."""
        named = [
            node
            for (_, name), nodes in self._definitions.items()
            if name == cls.__name__
            for node in nodes
            if isinstance(node, ast.ClassDef)
        ]
        return self.text(named) if len(named) == 1 else None


_files: dict[str, SourceFile] = {}


class Sources:
    """The files of one plan: each is read once, and parsed only if its text is new to this process."""

    def __init__(self) -> None:
        self._opened: dict[str, SourceFile | None] = {}

    def open(self, path: str) -> SourceFile | None:
        """A file as it is now; None if it is missing or is not Python."""
        if path not in self._opened:
            self._opened[path] = _parsed(path)
        return self._opened[path]

    def of(self, module: ModuleType | None) -> SourceFile | None:
        """The file of a module as it is now."""
        path = module_file(module) if module is not None else None
        return self.open(path) if path is not None and path.endswith(".py") else None

    def describe(self, function: FunctionType, bare: bool = False) -> Described:
        """What a loaded function is made of."""
        code = function.__code__
        path = function.__globals__.get("__file__")
        if not isinstance(path, str) or Path(path).name != Path(code.co_filename).name or not Path(path).is_file():
            return Described(normal_form(code))
        file = self.open(path)
        found = file.describe(code, bare) if file is not None else None
        return found or Described(normal_form(code), edited=_is_plain(function.__globals__))


def _parsed(path: str) -> SourceFile | None:
    try:
        content = Path(path).read_bytes()
        known = _files.get(path)
        if known is None or known.content != content:
            known = _files[path] = SourceFile(content, path)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    return known


def _is_plain(names: dict[str, Any]) -> bool:
    """Whether a module was made of its file by Python itself; pytest, for one, rewrites what it imports."""
    loader = getattr(names.get("__spec__"), "loader", None) or names.get("__loader__")
    return type(loader) is SourceFileLoader


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _nested(const)


def _first_line(node: Definition) -> int:
    decorators = getattr(node, "decorator_list", None)
    return decorators[0].lineno if decorators else node.lineno


def _undecorated(node: Definition, bare: bool) -> Definition:
    if isinstance(node, ast.Lambda):
        return node
    node = copy.copy(node)
    node.decorator_list = []
    if bare and not isinstance(node, ast.ClassDef):
        node.returns = None
        node.args = _unannotated(node.args)
    return node


def _unannotated(arguments: ast.arguments) -> ast.arguments:
    def plain(argument: ast.arg | None) -> Any:
        return argument and ast.arg(argument.arg)

    result = copy.copy(arguments)
    for kind in ("posonlyargs", "args", "kwonlyargs"):
        setattr(result, kind, [plain(each) for each in getattr(arguments, kind)])
    result.vararg, result.kwarg = plain(arguments.vararg), plain(arguments.kwarg)
    return result


def dumped(value: object) -> str:
    """A syntax tree as text, without docstrings, positions and how strings were written."""
    if isinstance(value, ast.AST):
        fields = (f"{name}={dumped(field)}" for name, field in _fields(value))
        return f"{type(value).__name__}({','.join(fields)})"
    if isinstance(value, list):
        return f"[{','.join(map(dumped, value))}]"
    return repr(value)


def _fields(node: ast.AST) -> Iterator[tuple[str, object]]:
    for name, field in ast.iter_fields(node):
        if name == "body" and isinstance(node, _DOCUMENTED):
            yield name, undocumented(node)
        elif name not in _IMMATERIAL:
            yield name, field


def undocumented(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) -> list[ast.stmt]:
    """The body of a definition or module without its docstring."""
    has_docstring = ast.get_docstring(node, clean=False) is not None
    body = node.body[1:] if has_docstring else node.body
    return [each for each in body if not isinstance(each, ast.Pass)]
