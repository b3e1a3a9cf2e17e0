"""Files of parameters, in TOML, JSON or YAML, as plain data."""

from __future__ import annotations

import functools
import json
import pathlib
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from drystone_cli.structures import Plain
from drystone_cli.values import unique


class FileError(ValueError):
    """A file cannot be read, or is not what its name says."""


def load(path: pathlib.Path) -> dict[str, Any]:
    """What a file holds.

    Raises:
        FileError: It cannot be read, is of none of the three formats, has a key twice, or holds no table.
    """
    parse = FORMATS.get(path.suffix.lower())
    if parse is None:
        raise FileError(f"its name must end in one of {', '.join(FORMATS)}.")
    try:
        data = parse(path.read_bytes().decode("utf-8-sig"))
    except OSError as exc:
        raise FileError(f"it cannot be read: {exc.strerror}.") from None
    except UnicodeDecodeError as exc:
        raise FileError(f"it is not UTF-8: {exc.reason} at byte {exc.start}.") from None
    except RecursionError:
        raise FileError("it is nested too deeply.") from None
    if not isinstance(data, dict):
        raise FileError(f"it holds no table, but {type(data).__name__}.")
    return data


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except ValueError as exc:  # also of a number with more digits than Python reads
        raise FileError(f"it is no TOML: {exc}.") from None


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as exc:
        raise FileError(f"it is no JSON: {exc.msg} (at line {exc.lineno}, column {exc.colno}).") from None
    except ValueError as exc:
        raise FileError(str(exc)) from None


def _yaml(text: str) -> Any:
    import yaml

    try:
        data = yaml.load(text, _yaml_loader())
    except yaml.MarkedYAMLError as exc:
        raise FileError(f"it is no YAML: {exc.problem}{_place(exc.problem_mark)}.") from None
    except yaml.YAMLError as exc:
        raise FileError(f"it is no YAML: {' '.join(str(exc).split())}.") from None
    return {} if data is None else data


def _place(mark: Any) -> str:
    return f" (at line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""


@functools.cache
def _yaml_loader() -> Any:
    """A loader that takes no key twice, and leaves it to who reads a value what stands in no quotes.

    YAML 1.1 would make `no` false, `12:30` 750, `1.10` 1.1 and `1e-3` a text, whatever is asked for.
    """
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Of files of parameters."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            """A table."""
            _check_keys(node)
            return super().construct_mapping(node, deep)

        def scalar(self, node: Any) -> Any:
            """A text, or what stands in no quotes."""
            if node.style is not None:
                return node.value
            special = node.value.lower() in (".nan", ".inf", "+.inf", "-.inf")
            return float(node.value.replace(".", "")) if special else Plain(node.value)

    for tag in ("str", "bool", "int", "float", "timestamp"):
        Loader.add_constructor(f"tag:yaml.org,2002:{tag}", Loader.scalar)
    return Loader


def _check_keys(node: Any) -> None:
    """Refuse a table that has a key twice."""
    import yaml

    seen: dict[str, Any] = {}
    for key in (key for key, _ in getattr(node, "value", ()) if isinstance(key, yaml.ScalarNode)):
        if key.value in seen and key.value != "<<":
            raise FileError(f"{key.value!r} is given twice{_place(key.start_mark)}.")
        seen[key.value] = key


FORMATS: Mapping[str, Callable[[str], Any]] = {".toml": _toml, ".json": _json, ".yaml": _yaml, ".yml": _yaml}
"""What reads a file, by how its name ends."""
