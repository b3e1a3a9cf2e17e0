"""What compiled code says: which names it reaches, and forms of it that do not depend on layout."""

from __future__ import annotations

import dis
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Any

import attrs

from drystone.digests import encode, frame

_GLOBAL_LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_FREE_LOADS = {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
_ATTRIBUTE_LOADS = {"LOAD_ATTR", "LOAD_METHOD"}
_LAYOUT = {"EXTENDED_ARG", "CACHE", "NOP", "RESUME"}
_HAS_DOCSTRING = 0x4000000


@attrs.frozen
class Chain:
    """A name that code loads, and the attributes it takes of it at once, as in `settings.rates.vat`.

    Attributes:
        scope: `global`; `free` for a closure variable; `import` for a module that the function itself imports.
        name: The variable, or the module, with leading dots if the import is relative.
    """

    scope: str
    name: str
    attributes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ".".join((self.name, *self.attributes))


_chains: dict[int, tuple[CodeType, tuple[Chain, ...]]] = {}


def chains(code: CodeType) -> tuple[Chain, ...]:
    """Everything that a code object and those nested in it load from outside, each once, in order."""
    known = _chains.get(id(code))
    if known is None:
        known = _chains[id(code)] = code, tuple(dict.fromkeys(_loaded(code, set(code.co_freevars), {})))
    return known[1]


def _loaded(code: CodeType, free: set[str], imported: dict[str, list[Chain]]) -> Iterator[Chain]:
    instructions = [each for each in dis.get_instructions(code) if each.opname not in _LAYOUT]
    free = free.intersection(code.co_freevars)
    imported = {name: found for name, found in imported.items() if name in code.co_freevars} | _imports(instructions)
    for name, scope, attributes in _loads(instructions):
        for base in imported.get(name, ()):
            yield attrs.evolve(base, attributes=base.attributes + attributes)
        if scope == "global" or (scope == "free" and name in free):
            yield Chain(scope, name, attributes)
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _loaded(const, free, imported)


def _loads(instructions: list[dis.Instruction]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for index, each in enumerate(instructions):
        if each.opname in _GLOBAL_LOADS:
            yield each.argval, "global", _attributes(instructions, index)
        elif each.opname in _FREE_LOADS:
            yield each.argval, "free", _attributes(instructions, index)
        elif "LOAD_FAST" in each.opname:
            *others, last = _names(each)
            yield from ((name, "local", ()) for name in others)
            yield last, "local", _attributes(instructions, index)


def _attributes(instructions: list[dis.Instruction], index: int) -> tuple[str, ...]:
    taken: list[str] = []
    while index + 1 < len(instructions) and instructions[index + 1].opname in _ATTRIBUTE_LOADS:
        index += 1
        taken.append(instructions[index].argval)
    return tuple(taken)


def _names(instruction: dis.Instruction) -> tuple[str, ...]:
    return instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)


def _imports(instructions: list[dis.Instruction]) -> dict[str, list[Chain]]:
    """The variables that import statements bind, and to what."""
    bound: dict[str, list[Chain]] = {}
    module, names, current = "", None, None
    for index, each in enumerate(instructions):
        if each.opname == "IMPORT_NAME":
            level, names = instructions[index - 2].argval, instructions[index - 1].argval
            module = "." * level + each.argval
            current = Chain("import", module if names else module.partition(".")[0])
        elif each.opname == "IMPORT_FROM":
            current = Chain("import", module, (each.argval,)) if names else Chain("import", module)
        elif current is not None and each.opname.startswith("STORE_"):
            bound.setdefault(_names(each)[0], []).append(current)
            current = None
    return bound


def exact_form(code: CodeType) -> bytes:
    """The same for two code objects compiled of the same statements, wherever these stand in their files."""
    return frame(b"exact", code.co_code, code.co_exceptiontable, _outline(code), encode(code.co_consts, _inner_exact))


def _inner_exact(value: object) -> bytes | None:
    return exact_form(value) if isinstance(value, CodeType) else None


def normal_form(code: CodeType) -> bytes:
    """As `exact_form`, and indifferent to docstrings too; slower, since it looks at every instruction."""
    instructions = [each for each in dis.get_instructions(code) if each.opname not in _LAYOUT]
    offsets = [each.offset for each in instructions]
    entries = ((_spot(offsets, (each.start, each.end, each.target)), each.depth) for each in _handlers(code))
    return frame(
        b"normal",
        _outline(code),
        repr(list(entries)).encode(),
        *(_instruction(each, offsets) for each in instructions),
    )


def _outline(code: CodeType) -> bytes:
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~_HAS_DOCSTRING
    names = code.co_varnames, code.co_freevars, code.co_cellvars
    return repr((counts, names)).encode() + repr(code.co_names).encode()


def _handlers(code: CodeType) -> Iterable[Any]:
    entries: Iterable[Any] = getattr(dis.Bytecode(code), "exception_entries", ())
    return entries


def _spot(offsets: list[int], places: Iterable[int]) -> list[int]:
    """Byte offsets as numbers of instructions, which stay the same when arguments grow longer."""
    return [sum(offset < place for offset in offsets) for place in places]


def _instruction(each: dis.Instruction, offsets: list[int]) -> bytes:
    if isinstance(each.argval, CodeType):
        return frame(b"op", each.opname.encode(), normal_form(each.argval))
    if each.opcode in dis.hasjrel or each.opcode in dis.hasjabs:
        return frame(b"op", each.opname.encode(), repr(_spot(offsets, [each.argval])).encode())
    if each.opcode in dis.hasconst:
        return frame(b"op", each.opname.encode(), encode(each.argval))
    return frame(b"op", each.opname.encode(), repr(each.argval).encode())
