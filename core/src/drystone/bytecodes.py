"""What compiled code says, whatever the layout of its text: a form of it, and what it reaches from outside."""

from __future__ import annotations

import bisect
import collections
import dis
import functools
import re
from collections.abc import Iterator
from types import CodeType

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

    def __str__(self) -> str:
        return ".".join((self.name, *self.attributes))


@functools.cache
def form(code: CodeType) -> str:
    """A digest of what code does: the same for texts that differ in comments, docstrings and blank lines.

    Line breaks within a statement can change what the compiler makes of it; `sources` takes the form of code that was
    compiled as if there were none.
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


@functools.cache
def loads(code: CodeType) -> tuple[Chain, ...]:
    """Everything that code and the code nested in it load from outside, each once."""
    return tuple(dict.fromkeys(_loaded(code, set(code.co_freevars), {})))


def bindings(code: CodeType) -> tuple[set[str], dict[str, list[Chain]]]:
    """The names that the code of a module binds to what it makes itself, and what its import statements bind; star imports under `*`."""
    operations = _operations(code)
    imports = _imports(operations)
    stored = collections.Counter(each.argval for each in operations if each.opname == "STORE_NAME")
    return set(stored - collections.Counter({name: len(found) for name, found in imports.items()})), imports


def _loaded(code: CodeType, free: set[str], imported: dict[str, list[Chain]]) -> Iterator[Chain]:
    operations = _operations(code)
    free = free.intersection(code.co_freevars)
    imported = {name: found for name, found in imported.items() if name in code.co_freevars} | _imports(operations)
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


def _imports(operations: list[dis.Instruction]) -> dict[str, list[Chain]]:
    """The variables that import statements bind, and to what."""
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
        elif each.opname not in _LAYOUT:
            value = code.co_consts[each.arg or 0] if each.opcode in dis.hasconst else each.argval
            found.append(each._replace(argval=value))
    return found
