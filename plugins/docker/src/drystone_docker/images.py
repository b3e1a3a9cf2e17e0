"""Images: what they are made of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from drystone import Secret
from drystone.errors import StackError, listed

_REFERENCE = re.compile(r"[A-Za-z0-9][\w./:@+-]*", re.ASCII)
_DEBIAN = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+)?")
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?")


def several(value: Any) -> Any:
    """Several things as a tuple; those of a set in an order that does not depend on the process."""
    if isinstance(value, set | frozenset):
        return tuple(sorted(value, key=str))
    return tuple(value) if isinstance(value, list) else value


def copied(value: Any) -> Any:
    """A mapping as a plain dict, which can be written as JSON, whatever it was."""
    return dict(value) if isinstance(value, Mapping) else value


@attrs.frozen(kw_only=True)
class Image:
    """What an image is built from. What is None is as the orchestrator's own settings say.

    Attributes:
        base_image: The image to start from, which has Python; by default `python:3.11-slim`, of the driver's version.
        python: The interpreter in it, as `python3` or a path.
        requirements: What is installed for the project: a file of requirements or a `pyproject.toml`, or the
            requirements themselves; by default what the project's `pyproject.toml` says, or `requirements.txt`.
        system_packages: Debian packages.
        environment: Variables that every container has; a `Secret` is handed over when a step starts, and stands in no
            image.
        dockerfile: A Dockerfile of the project's own, whose image takes the place of `base_image`.
        platform: As `linux/amd64`, where it is not the engine's own.
        index_url: A package index that is asked first; what it does not have comes from where the driver gets it. With
            credentials it is a `Secret`.

    Raises:
        StackError: Settings that cannot be; all of them.
        TypeError: Credentials in plain text.
    """

    base_image: str | None = None
    python: str | None = None
    requirements: str | tuple[str, ...] | None = attrs.field(default=None, converter=several)
    system_packages: tuple[str, ...] | None = attrs.field(default=None, converter=several)
    environment: Mapping[str, str | Secret] | None = attrs.field(default=None, converter=copied, hash=False)
    dockerfile: str | None = None
    platform: str | None = None
    index_url: str | Secret | None = None

    def __attrs_post_init__(self) -> None:
        problems = [*_texts(self), *_requirements(self.requirements), *_packages(self.system_packages)]
        problems += [*_variables(self.environment), *_index(self.index_url)]
        if problems:
            raise StackError(listed(problems))

    def over(self, other: Image) -> Image:
        """This image, with what it leaves open taken from another one; a base image takes a Dockerfile's place."""
        given: dict[str, Any] = {
            name: value for name, value in attrs.asdict(self, recurse=False).items() if value is not None
        }
        if self.base_image is not None:
            given.setdefault("dockerfile", None)
        return attrs.evolve(other, **given)


def _texts(image: Image) -> Iterator[str]:
    if image.base_image is not None and not _matches(_REFERENCE, image.base_image):
        yield f"base_image={image.base_image!r} is no name of an image, like 'python:3.11-slim'."
    if image.platform is not None and not _matches(_PLATFORM, image.platform):
        yield f"platform={image.platform!r} is no platform, like 'linux/amd64' or 'linux/arm64/v8'."
    if image.python is not None and (not isinstance(image.python, str) or not image.python.strip()):
        yield f"python={image.python!r} is no interpreter, like 'python3.12' or '/opt/conda/bin/python'."
    if image.dockerfile is not None and (not isinstance(image.dockerfile, str) or not image.dockerfile):
        yield f"dockerfile={image.dockerfile!r} is no file in the project, like 'images/Dockerfile'."


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _requirements(value: object) -> Iterator[str]:
    if value is None or (isinstance(value, str) and value.endswith((".txt", ".toml", ".in"))):
        return
    if not isinstance(value, tuple):
        yield (
            f"requirements={value!r} names no file of requirements, like 'requirements.txt' or 'pyproject.toml'. "
            "Requirements themselves are several: requirements=('pandas>=2.3',)."
        )
        return
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - costs 0.03 s

    for each in value:
        try:
            Requirement(each)
        except (InvalidRequirement, TypeError, AttributeError) as exc:
            yield f"requirements= has {each!r}, which is no requirement like 'pandas>=2.3': {str(exc).splitlines()[0]}."


def _packages(value: object) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, tuple):
        yield f"system_packages={value!r}: it takes several names, as ('libgomp1',)."
        return
    for each in value:
        if not _matches(_DEBIAN, each):
            yield f"system_packages= has {each!r}, which is no Debian package, like 'libgomp1' or 'git=1:2.39.5-0'."


def _variables(value: object) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, Mapping):
        yield f"environment={value!r}: it takes variables, as {{'OMP_NUM_THREADS': '1'}}."
        return
    for name, text in value.items():
        if not _matches(_VARIABLE, name):
            yield f"environment= has {name!r}, which is no name of a variable."
        if not isinstance(text, str | Secret):
            yield f"environment= has {name}={text!r}: write it as text, {str(text)!r}, or as a Secret."
        elif isinstance(text, str) and "\0" in text:
            yield f"environment= has {name} with a null character in it."


def _index(value: object) -> Iterator[str]:
    if value is None or isinstance(value, Secret):
        return
    parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
    if "@" in parts.netloc:
        raise TypeError(
            "Image: an index_url with credentials is a reference, since plain text would be shown and recorded: "
            'index_url=Secret("env:INDEX_URL").'
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield f"index_url={value!r} is no URL of a package index, like https://packages.example.org/simple."
