"""What users write and pass around: artifacts and models by name, and references that are found when a run starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:  # an artifact may stand wherever a step takes what is kept in it
    Anything = Any
else:
    Anything = object

LATEST = "latest"
SHARED = "shared"

ColumnLabels = Sequence[Any]
"""Which columns of a frame to load, by their labels."""

RowSpan = slice | range
"""Which rows of a frame to load, by their positions."""

SOURCE = "drystone.workspaces:Workspace"
"""Where a reference that is loaded outside a run looks things up; imported on that first load, never before."""


def imported(target: str) -> Any:
    """What `module:name` stands for, imported now."""
    module, name = target.split(":")
    return getattr(import_module(module), name)


def current_source() -> Any:
    """The `drystone.artifacts.Source` of the workspace that is active here."""
    return imported(SOURCE).current()


def given(**options: Any) -> dict[str, Any]:
    """Those options that are not None."""
    return {name: each for name, each in options.items() if each is not None}


def checked_name(name: str, what: str) -> str:
    """A name that is one word in addresses such as `name@3`, and one part of a path.

    Raises:
        ValueError: It is none of that, for one of the reasons that the message lists.
    """
    is_word = isinstance(name, str) and name.strip() not in ("", ".", "..") and name.isprintable()
    if not is_word or not {"/", "\\", "@"}.isdisjoint(name):
        raise ValueError(
            f"{name!r} cannot be the name of {what}. A name is text, not blank, not '.' or '..', and holds no '/', no "
            "'\\', no '@' and no control characters."
        )
    return name


def check_tags(declared: Any, attribute: Any, tags: Mapping[str, Any]) -> None:
    """Refuse tags that cannot be kept.

    Raises:
        ValueError: Names those whose value is neither true nor a text or number.
    """
    wrong = [str(name) for name, value in tags.items() if not isinstance(name, str) or not isinstance(value, _TAGS)]
    if wrong:
        raise ValueError(
            f"A tag is a name, with True or with a text or number as its value; these are not: {', '.join(wrong)}."
        )


_TAGS = (bool, int, float, str)


def _check_name(declared: Any, attribute: Any, value: Any) -> None:
    if value is not None:
        checked_name(value, f"{'an' if type(declared) is Artifact else 'a'} {type(declared).__name__.lower()}")


class Stored(Anything):  # type: ignore[misc]
    """An artifact that exists before the run: a reference to it, or the version itself."""

    __slots__ = ()


@attrs.frozen
class Reference(Stored):
    """An artifact that is named now and found at the start of a run.

    Attributes:
        name: The artifact's name.
        version: A number or `"latest"`.
        model: If given, the model version it must be linked to: `(model, number | name | stage | "latest" | "shared")`.
    """

    name: str
    version: int | str = LATEST
    model: tuple[str, int | str | None] | None = None

    def load(self, *, columns: ColumnLabels | None = None, rows: RowSpan | None = None, **options: Any) -> Any:
        """The value it means now, or a part of it, as `ArtifactVersion.load` has it.

        In a pipeline pass the reference itself: the run resolves and records it.
        """
        return current_source().resolve(self).load(columns=columns, rows=rows, **options)

    def __str__(self) -> str:
        if self.model is None:
            return f"{self.name}@{self.version}"
        model, version = self.model
        of = model if version is None else f"{model}@{version}"
        return f"{self.name} of {of}" if self.version == LATEST else f"{self.name}@{self.version} of {of}"


def _strings(values: Any) -> tuple[str, ...]:
    """Names of types, given as strings or as the types themselves."""
    return tuple(each if isinstance(each, str) else f"{each.__module__}.{each.__qualname__}" for each in values)


@attrs.frozen
class Artifact:
    """Declares what a step's output is called and how it is kept: `Annotated[pd.DataFrame, Artifact("features")]`.

    Attributes:
        name: May hold `{date}`, `{time}` and the names of parameters; a default is derived from the step.
        kind: `data` (the default), `model`, or a name of your own.
        tags: Put on every version.
        trusted: Types outside the vetted list that may be loaded from this artifact (scikit-learn estimators).
        allow_pickle: Write and read it with pickle, even where the workspace forbids that.
    """

    name: str | None = attrs.field(default=None, validator=_check_name)
    kind: str = attrs.field(default="data", kw_only=True)
    tags: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, hash=False, validator=check_tags)
    trusted: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=_strings)
    allow_pickle: bool = attrs.field(default=False, kw_only=True)

    @property
    def latest(self) -> Reference:
        """The newest version, found when a run starts."""
        return Reference(self._named())

    def version(self, version: int) -> Reference:
        """One fixed version."""
        return Reference(self._named(), version)

    def _named(self) -> str:
        if self.name is None:
            raise ValueError('This artifact has no name to look up. Name it: Artifact("features").')
        return self.name


@attrs.frozen(init=False)
class Columns:
    """Says which columns of a frame a step reads: `data: Annotated[pd.DataFrame, Columns("day", "delay")]`.

    Only these are loaded, and from a store elsewhere only these are transferred. The whole frame stays an input: the
    step runs again when any column changes.

    Attributes:
        labels: Their labels, in the order in which the step gets them.
    """

    labels: tuple[Any, ...]

    def __init__(self, *labels: Any) -> None:
        self.__attrs_init__(labels)


@attrs.frozen
class Model:
    """Declares a model: `delays = Model("flight_delays")`.

    A pipeline with `model=delays` makes a new version per run that executes anything; one with `model=delays.shared`
    serves the model without making versions; one with `model=delays.version("production")` uses what was promoted.
    """

    name: str = attrs.field(validator=_check_name)
    tags: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, hash=False, validator=check_tags)
    description: str = attrs.field(default="", kw_only=True)

    def version(self, version: int | str) -> ModelReference:
        """A version by number, name, stage or as `"latest"`; found when a run starts."""
        return ModelReference(self, version)

    def artifact(self, name: str) -> Reference:
        """The newest version of an artifact that is linked to this model or to any of its versions."""
        return Reference(name, LATEST, (self.name, None))

    @property
    def shared(self) -> ModelReference:
        """This model, for pipelines that serve it without making a candidate version."""
        return ModelReference(self, SHARED)


@attrs.frozen
class ModelReference:
    """A model version that is named now and found when a run starts."""

    model: Model
    selector: int | str

    @property
    def is_shared(self) -> bool:
        """Whether it stands for the model itself rather than for one version."""
        return self.selector == SHARED

    def artifact(self, name: str) -> Reference:
        """An artifact of that version: what its run produced or was linked to it."""
        return Reference(name, LATEST, (self.model.name, None if self.is_shared else self.selector))

    def __str__(self) -> str:
        return f"{self.model.name}@{self.selector}"
