"""The code closure of a step, tested by mutation: a project is generated, edited, and its closures are compared."""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from drystone.errors import EncodingError
from drystone.fingerprints import Closure, Fingerprints, step_key
from drystone.origins import Origin, origin_of

PROJECT = {
    "mill/__init__.py": "",
    "mill/settings.py": '''
        """Settings."""
        RATE = 0.5
        UNUSED = 1
        LIMITS = {"low": 1, "high": [2, 3]}
        ''',
    "mill/deep.py": '''
        def deepest(x):
            """Two modules away."""
            return x * 2

        def unrelated(x):
            return x
        ''',
    "mill/library.py": '''
        import functools
        from mill import deep, settings
        from mill.deep import deepest

        def scaled(x, by=2):
            """Scale."""
            return deepest(x) * by

        @functools.lru_cache(maxsize=16)
        def remembered(x):
            return x + 1

        def limited(x):
            return min(x, settings.LIMITS["low"])

        def unrelated(x):
            return x
        ''',
    "mill/decorators.py": """
        import functools

        def plus(amount):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(x):
                    return function(x) + amount
                return wrapper
            return decorate

        def multiplier(factor):
            def multiply(x):
                return x * factor
            return multiply
        """,
    "mill/shapes.py": '''
        import dataclasses
        import enum
        from typing import NamedTuple

        import attrs

        class Base:
            """A base."""
            offset = 1

            def inherited(self, x):
                return x + self.offset

        class Shape(Base):
            """A shape."""
            sides = 4

            def area(self, x):
                """Its area."""
                return self.inherited(x) * self.sides

            @property
            def corners(self): return self.sides

            @staticmethod
            def unit(): return 1

        @dataclasses.dataclass(frozen=True)
        class Options:
            depth: int = 3
            names: list = dataclasses.field(default_factory=list)

        @attrs.frozen
        class Settings:
            width: int = attrs.field(default=5, validator=attrs.validators.ge(0))

        class Colour(enum.Enum):
            RED = "red"
            BLUE = "blue"

        class Point(NamedTuple):
            x: int = 0
        ''',
    "mill/late.py": '''
        from mill.deep import deepest

        OFFSET = 4

        def lately(x):
            """Late."""
            return deepest(x) + OFFSET

        def unrelated(x):
            return x
        ''',
    "mill/states.py": """
        import logging
        import threading

        from mill import library, shapes

        log = logging.getLogger(__name__)
        lock = threading.Lock()

        class Scaler:
            def __init__(self, factor):
                self.factor = factor

            def apply(self, x):
                return x * self.factor

        scaler = Scaler(3)
        TABLE = {"scaled": library.scaled, "shape": shapes.Shape}
        """,
    "mill/steps.py": '''
        from __future__ import annotations

        import functools
        import mill.library as lib
        from mill import library, settings, shapes, states
        from mill.decorators import multiplier, plus
        from mill.shapes import Options
        from drystone.pipelines import step

        START = 1
        double = multiplier(2)
        lifted = functools.partial(library.scaled, by=3)

        def local(x):
            """A helper."""
            return x + START

        @plus(7)
        def decorated(x):
            return x

        def nested(x):
            def inner(y):
                return y + 1
            return [inner(each) for each in range(x) if each > 0]

        negated = lambda x: -x

        @step
        def plain(x: int) -> int:
            """Nothing reached."""
            return x + 1

        @step
        def helped(x: int) -> int:
            return local(x)

        def kept(xs):
            class Local:
                """A local class."""
                held = [x for x in xs if x is not None and x > 0]
            return [y for y in xs if y not in Local.held and y or None]

        @step
        def keeping(x: int) -> list:
            return kept([x])

        @step
        def chained(x: int) -> int:
            return lib.scaled(x)

        @step
        def cached(x: int) -> int:
            return library.remembered(x)

        @step
        def limits(x: int) -> int:
            return library.limited(x)

        @step
        def rated(x: int) -> float:
            return x * settings.RATE

        @step
        def wrapped(x: int) -> int:
            return decorated(x)

        @step
        def closed(x: int) -> int:
            return double(x)

        @step
        def partial(x: int) -> int:
            return lifted(x)

        @step
        def shaped(x: int) -> int:
            return shapes.Shape().area(x)

        @step
        def optional(x: int) -> int:
            return Options().depth + shapes.Settings().width

        @step
        def annotated(options: Options) -> int:
            return options.depth

        @step
        def coloured(x: int) -> str:
            return shapes.Colour.RED.value + str(shapes.Point())

        @step
        def looped(x: int) -> list:
            return nested(x) + [negated(x)]

        @step
        def late(x: int) -> int:
            from mill.late import lately
            import mill.settings as configured
            return lately(x) + configured.RATE

        @step
        def stateful(x: int) -> int:
            with states.lock:
                states.log.info("x")
                return states.scaler.apply(x)

        @step
        def tabled(x: int) -> int:
            return states.TABLE["scaled"](x)
        ''',
}

SEMANTIC = {
    "the step itself": ("steps", "return x + 1\n\n@step\ndef helped", "return x + 2\n\n@step\ndef helped", "plain"),
    "a helper in the same module": ("steps", "return x + START", "return x - START", "helped"),
    "a constant in the same module": ("steps", "START = 1", "START = 2", "helped"),
    "the type of a constant": ("steps", "START = 1", "START = True", "helped"),
    "a helper in another module": (
        "library",
        "return deepest(x) * by",
        "return deepest(x) / by",
        "chained partial tabled",
    ),
    "a default argument": ("library", "by=2", "by=3", "chained partial tabled"),
    "a default argument's value": (
        "library",
        "def scaled(x, by=2)",
        "by = 9\ndef scaled(x, by=by)",
        "chained partial tabled",
    ),
    "a helper two modules away": ("deep", "return x * 2", "return x * 3", "chained partial tabled late"),
    "a constant in another module": ("settings", "RATE = 0.5", "RATE = 0.25", "rated late"),
    "what a module-level dict holds": ("settings", '"high": [2, 3]', '"high": [2, 4]', "limits"),
    "a helper that is lru_cached": ("library", "return x + 1", "return x + 2", "cached"),
    "an argument of lru_cache": ("library", "maxsize=16", "maxsize=17", "cached"),
    "the body of a decorator": ("decorators", "function(x) + amount", "function(x) - amount", "wrapped"),
    "an argument of a decorator": ("steps", "@plus(7)", "@plus(8)", "wrapped"),
    "a decorator taken away": ("steps", "@plus(7)\n", "", "wrapped"),
    "a decorated function": ("steps", "def decorated(x):\n    return x", "def decorated(x):\n    return -x", "wrapped"),
    "a closure variable": ("steps", "multiplier(2)", "multiplier(3)", "closed"),
    "the code of a closure": ("decorators", "return x * factor", "return x + factor", "closed"),
    "an argument of a partial": ("steps", "by=3", "by=4", "partial"),
    "a method": ("shapes", "self.inherited(x) * self.sides", "self.inherited(x) + self.sides", "shaped tabled"),
    "an inherited method": ("shapes", "x + self.offset", "x - self.offset", "shaped tabled"),
    "a class attribute": ("shapes", "sides = 4", "sides = 5", "shaped tabled"),
    "an inherited class attribute": ("shapes", "offset = 1", "offset = 2", "shaped tabled"),
    "a property": ("shapes", "return self.sides\n", "return -self.sides\n", "shaped tabled"),
    "a static method": ("shapes", "def unit(): return 1", "def unit(): return 2", "shaped tabled"),
    "a base class": ("shapes", "class Shape(Base)", "class Other(Base): pass\n\nclass Shape(Other)", "shaped tabled"),
    "a dataclass default": ("shapes", "depth: int = 3", "depth: int = 4", "optional annotated"),
    "a dataclass default factory": ("shapes", "default_factory=list", "default_factory=dict", "optional annotated"),
    "a dataclass option": ("shapes", "frozen=True", "frozen=False", "optional annotated"),
    "an attrs default": ("shapes", "default=5", "default=6", "optional"),
    "an attrs validator": ("shapes", "validators.ge(0)", "validators.ge(1)", "optional"),
    "the value of an enum member": ("shapes", 'BLUE = "blue"', 'BLUE = "navy"', "coloured"),
    "the order of an enum": ("shapes", 'RED = "red"\n    BLUE = "blue"', 'BLUE = "blue"\n    RED = "red"', "coloured"),
    "a named tuple": ("shapes", "x: int = 0", "x: int = 1", "coloured"),
    "a nested function": ("steps", "return y + 1", "return y + 2", "looped"),
    "a comprehension": ("steps", "if each > 0", "if each > 1", "looped"),
    "a lambda": ("steps", "lambda x: -x", "lambda x: +x", "looped"),
    "a module that a function imports": ("late", "deepest(x) + OFFSET", "deepest(x) - OFFSET", "late"),
    "a constant of a module that a function imports": ("late", "OFFSET = 4", "OFFSET = 5", "late"),
    "the state of an instance": ("states", "Scaler(3)", "Scaler(4)", "stateful"),
    "a method of an instance": ("states", "x * self.factor", "x + self.factor", "stateful"),
    "a function in a dict": ("states", '"scaled": library.scaled', '"scaled": library.unrelated', "tabled"),
    "a name pointed elsewhere": ("steps", "return lib.scaled(x)", "return lib.unrelated(x)", "chained"),
    "an import pointed elsewhere": (
        "library",
        "from mill.deep import deepest",
        "from mill.deep import unrelated as deepest",
        "chained partial tabled",
    ),
}

COSMETIC = {
    "a comment": ("library", "return deepest(x) * by", "# why\n    return deepest(x) * by  # because"),
    "a docstring": ("library", '"""Scale."""', '"""Scales a number."""'),
    "a docstring taken away": ("library", '    """Scale."""\n', ""),
    "the docstring of a class": ("shapes", '"""A shape."""', '"""Another shape."""'),
    "the docstring of a method": ("shapes", '"""Its area."""', '"""The area."""'),
    "the docstring of a step": ("steps", '"""Nothing reached."""', '"""Reaches nothing.\n\n    At all.\n    """'),
    "the docstring of a module": ("settings", '"""Settings."""', '"""All settings."""'),
    "blank lines": ("library", "def scaled", "\n\n\n\ndef scaled"),
    "line breaks": (
        "library",
        "return deepest(x) * by",
        "return (\n        deepest(\n            x,\n        )\n        * by\n    )",
    ),
    "line breaks in conditions and comprehensions": (
        "steps",
        "[y for y in xs if y not in Local.held and y or None]",
        "[\n        y\n        for y in xs\n        if y not in Local.held\n        and y\n        or None\n    ]",
    ),
    "the docstring of a local class": ("steps", '        """A local class."""\n', ""),
    "quotes": ("library", 'settings.LIMITS["low"]', "settings.LIMITS['low']"),
    "indentation": ("library", "def limited(x):\n    return", "def limited(x):\n        return"),
    "the order of a dict": ("settings", '"low": 1, "high": [2, 3]', '"high": [2, 3], "low": 1'),
    "an unrelated function": ("library", "def unrelated(x):\n    return x", "def unrelated(x):\n    return x + 99"),
    "an unrelated function of a late import": (
        "late",
        "def unrelated(x):\n    return x",
        "def unrelated(x):\n    return -x",
    ),
    "an unrelated function more": ("steps", "def local(x)", "def more(x):\n    return 5\n\ndef local(x)"),
    "an unrelated constant": ("settings", "UNUSED = 1", "UNUSED = 2"),
    "the docstring of a late import": ("late", '"""Late."""', '"""Later."""'),
    "the order of imports": (
        "steps",
        "import functools\nimport mill.library as lib\n",
        "import mill.library as lib\nimport functools\n",
    ),
    "an unused import": ("library", "import functools", "import functools\nimport json"),
    "a helper moved within its file": (
        "steps",
        'def local(x):\n    """A helper."""\n    return x + START\n\n@plus(7)\ndef decorated(x):\n    return x\n',
        '@plus(7)\ndef decorated(x):\n    return x\n\ndef local(x):\n    """A helper."""\n    return x + START\n',
    ),
    "the order of methods": (
        "shapes",
        "    @property\n    def corners(self): return self.sides\n\n    @staticmethod\n    def unit(): return 1\n",
        "    @staticmethod\n    def unit(): return 1\n\n    @property\n    def corners(self): return self.sides\n",
    ),
    "the return annotation of a step": ("steps", "def plain(x: int) -> int:", "def plain(x: int) -> float:"),
}


class Mill:
    """The generated project, loaded in this process; each load is of the files as they are then."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, text in PROJECT.items():
            self.write(name, textwrap.dedent(text).lstrip())

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def edit(self, module: str, old: str, new: str) -> None:
        path = self.root / "mill" / f"{module}.py"
        text = path.read_text()
        assert text.count(old) >= 1, f"{old!r} is not in {path.name}"
        path.write_text(text.replace(old, new, 1))

    def load(self, module: str = "mill.steps") -> ModuleType:
        self.unload()
        importlib.invalidate_caches()
        return importlib.import_module(module)

    def unload(self) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] in ("mill", "extra")]:
            del sys.modules[name]

    def closure(self, step: object) -> Closure:
        return Fingerprints(self.root).closure(step)

    def closures(self) -> dict[str, Closure]:
        module, fingerprints = self.load(), Fingerprints(self.root)
        steps = {name: each for name, each in vars(module).items() if type(each).__name__ == "Step"}
        return {name: fingerprints.closure(each) for name, each in steps.items()}

    def digests(self) -> dict[str, str]:
        closures = self.closures()
        assert {name: each.problems + each.edited for name, each in closures.items()} == dict.fromkeys(closures, ())
        return {name: str(each.digest) for name, each in closures.items()}

    def step(self, text: str, name: str = "probed") -> Closure:
        """The closure of a step in a module of its own."""
        self.write("extra.py", "from drystone.pipelines import step\n" + textwrap.dedent(text))
        return self.closure(getattr(self.load("extra"), name))


@pytest.fixture
def mill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mill]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # bytecode would hide a second edit within a second
    monkeypatch.syspath_prepend(str(tmp_path))
    project = Mill(tmp_path)
    yield project
    project.unload()


@pytest.mark.parametrize(("module", "old", "new", "affected"), SEMANTIC.values(), ids=SEMANTIC)
def test_a_semantic_edit_changes_exactly_the_steps_it_affects(
    mill: Mill, module: str, old: str, new: str, affected: str
) -> None:
    before = mill.digests()
    mill.edit(module, old, new)
    after = mill.digests()
    assert {name for name in before if before[name] != after[name]} == set(affected.split())


@pytest.mark.parametrize(("module", "old", "new"), COSMETIC.values(), ids=COSMETIC)
def test_a_cosmetic_edit_changes_nothing(mill: Mill, module: str, old: str, new: str) -> None:
    before = mill.digests()
    mill.edit(module, old, new)
    assert mill.digests() == before


def test_the_same_project_elsewhere_has_the_same_digests(
    mill: Mill, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = mill.digests()
    elsewhere = Mill(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.syspath_prepend(str(elsewhere.root))
    assert elsewhere.digests() == before


def test_a_closure_names_its_members_and_shows_their_text(mill: Mill) -> None:
    closure = mill.closures()["chained"]
    assert set(closure.members) == {
        "mill.steps.chained",
        "mill.library.scaled",
        "mill.library.scaled.by",
        "mill.deep.deepest",
    }
    assert "return deepest(x) * by" in str(closure.members["mill.library.scaled"].source)
    assert closure.members["mill.library.scaled.by"].source == "2"
    assert closure.python == f"{sys.version_info.major}.{sys.version_info.minor}"


# --- the code that runs, and the file it came from --------------------------------------------------------------------


def test_a_file_edited_since_it_was_loaded_gives_no_digest(mill: Mill) -> None:
    steps = mill.load()
    mill.edit("deep", "return x * 2", "return x * 3")
    closure = mill.closure(steps.chained)
    assert (closure.digest, closure.edited) == (None, ("mill.deep.deepest",))
    assert mill.closure(steps.plain).digest is not None
    with pytest.raises(EncodingError, match=r"mill\.deep\.deepest was edited since it was loaded"):
        step_key(closure, {}, {}, ())


def test_a_cosmetic_edit_since_loading_changes_nothing(mill: Mill) -> None:
    before = mill.digests()
    steps = mill.load()
    mill.edit("library", '"""Scale."""', '"""Scales."""\n    # why')
    mill.edit("deep", '    """Two modules away."""\n', "")
    assert mill.closure(steps.chained).digest == before["chained"]


def test_a_half_saved_file_is_an_edited_one(mill: Mill) -> None:
    steps = mill.load()
    mill.edit("deep", "return x * 2", "return (x *")
    assert mill.closure(steps.chained).edited == ("mill.deep.deepest",)


def test_a_constant_counts_as_it_is_loaded(mill: Mill) -> None:
    before = mill.digests()
    steps = mill.load()
    mill.edit("settings", "RATE = 0.5", "RATE = 0.25")
    assert mill.closure(steps.rated).digest == before["rated"]


def test_a_late_import_has_one_digest_before_and_after_it_happened(mill: Mill) -> None:
    steps = mill.load()
    assert "mill.late" not in sys.modules
    before = mill.closure(steps.late)
    steps.late(1)
    assert mill.closure(steps.late) == before


@pytest.mark.parametrize(("old", "new"), [("OFFSET = 4", "OFFSET = 5"), ("+ OFFSET", "- OFFSET")])
def test_an_edit_after_a_late_import_gives_no_digest(mill: Mill, old: str, new: str) -> None:
    steps = mill.load()
    assert mill.closure(steps.late).digest is not None
    steps.late(1)
    mill.edit("late", old, new)
    assert mill.closure(steps.late).edited != ()


def test_a_package_edited_after_an_unplanned_late_import_gives_no_digest(mill: Mill) -> None:
    steps = mill.load()
    importlib.import_module("mill.late")
    mill.edit("late", "deepest(x) + OFFSET", "deepest(x) - OFFSET")
    assert mill.closure(steps.late).edited == ("mill.late.lately",)


def test_code_without_a_file_counts_by_its_bytecode(mill: Mill) -> None:
    def closure(text: str) -> Closure:
        space: dict[str, object] = {"__name__": "unsaved"}
        exec(compile("from drystone.pipelines import step\n" + text, "<cell>", "exec"), space)
        return mill.closure(space["f"])

    plain = closure("@step\ndef f(x: int):\n    return x + 1\n")
    assert plain.digest is not None
    assert closure('@step\ndef f(x: int):\n    """Doc."""\n\n    return x + 1\n').digest == plain.digest
    assert closure("@step\ndef f(x: int):\n    return x + 2\n").digest != plain.digest
    helped = closure("def g(x): return x\n@step\ndef f(x: int):\n    return g(x)\n")
    assert closure("def g(x): return -x\n@step\ndef f(x: int):\n    return g(x)\n").digest != helped.digest


# --- processes --------------------------------------------------------------------------------------------------------

REPORT = """
import json
from pathlib import Path
from drystone.fingerprints import Fingerprints
fingerprints = Fingerprints(Path.cwd())
steps = {name: each for name, each in vars(steps).items() if type(each).__name__ == "Step"}
print(json.dumps({name: fingerprints.closure(each).digest for name, each in steps.items()}))
"""


@pytest.fixture
def report(mill: Mill) -> Callable[..., dict[str, str]]:
    """Runs a program beside the project and reads what it prints."""

    def run(program: str, **environment: str) -> dict[str, str]:
        mill.write("program.py", program)
        paths = os.pathsep.join(filter(None, [environment.pop("PYTHONPATH", ""), str(mill.root)]))
        done = subprocess.run(
            [sys.executable, "program.py"],
            cwd=mill.root,
            env={**os.environ, **environment, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout)
        return found

    return run


def test_digests_do_not_depend_on_the_process(mill: Mill, report: Callable[..., dict[str, str]]) -> None:
    mill.edit("settings", "UNUSED = 1", 'NAMES = {"a", "b", "c", "d"}')
    mill.edit("states", '"shape": shapes.Shape', '"many": {library.scaled, library.limited, shapes.Shape}')
    mill.edit("steps", "return x * settings.RATE", "return x in settings.NAMES")
    here = mill.digests()
    for seed in ("0", "1", "random"):
        assert report("from mill import steps\n" + REPORT, PYTHONHASHSEED=seed) == here


def test_a_script_has_the_digests_of_the_module_it_is_imported_as(
    mill: Mill, report: Callable[..., dict[str, str]]
) -> None:
    text = textwrap.dedent(PROJECT["mill/steps.py"])
    text += "\nclass Own:\n    of: list[Own]\nAlias = list[Own]\n@step\ndef aliased(x: int): return Alias\n"
    script = "import sys\nsteps = sys.modules['__main__']\nsteps.__drystone_name__ = 'mill.steps'\n" + REPORT
    guarded = "\nif __name__ == '__main__':\n" + textwrap.indent(script, "    ")
    mill.write("mill/steps.py", text + guarded)
    assert report(text + guarded) == mill.digests()


def acme(version: str, root: Path) -> str:
    """A site directory with a distribution whose name is not that of its package, and a compiled-in version."""
    site = root / version / "site-packages"
    info = site / f"Acme_Tools-{version}.dist-info"
    info.mkdir(parents=True)
    (site / "acme.py").write_text("class Tool:\n    pass\n\ndef tool(x):\n    return x\n")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: Acme.Tools\nVersion: {version}\n")
    (info / "RECORD").write_text(f"acme.py,,\n{info.name}/METADATA,,\n")
    return str(site)


@pytest.mark.parametrize(
    ("imports", "body"),
    [
        ("import acme", "acme.tool(x)"),
        ("from acme import tool", "tool(x)"),
        ("from acme import Tool as T", "T()"),
        ("import acme\nmade = acme.Tool()", "made"),
        ("import acme\nclass Own(acme.Tool): pass", "Own()"),
        ("", "None\n\n@step\ndef using(x: int):\n    import acme\n    return acme.tool(x)"),
    ],
)
def test_the_version_of_a_distribution_counts_where_it_is_used(
    mill: Mill, report: Callable[..., dict[str, str]], tmp_path: Path, imports: str, body: str
) -> None:
    mill.write(
        "used.py", f"from drystone.pipelines import step\n{imports}\n@step\ndef using(x: int):\n    return {body}\n"
    )
    mill.edit("steps", "START = 1", "from used import using\nSTART = 1")
    program = "from mill import steps\n" + REPORT
    one = report(program, PYTHONPATH=acme("1.0", tmp_path))
    two = report(program, PYTHONPATH=acme("2.0", tmp_path))
    assert {name for name in one if one[name] != two[name]} == {"using"}


LATE_ACME = "from drystone.pipelines import step\n@step\ndef using(x: int):\n    import acme\n    return acme.tool(x)\n"

CODE = """
import json
from pathlib import Path
from drystone.fingerprints import Fingerprints
from drystone.orchestrators import Environment
closure = Fingerprints(Path.cwd()).closure(used.using)
there = [closure.within(Environment(packages={name: version})).digest for name, version in
         [("acme", "1"), ("acme", "2"), ("acme-tools", "1"), ("acme-tools", "2")]]
print(json.dumps({"code": closure.code, "digest": closure.digest, "there": there}))
"""


def test_code_is_the_same_where_what_it_imports_late_is_installed_and_where_it_is_not(
    mill: Mill, report: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    mill.write("used.py", LATE_ACME)
    here, there = report("import used\n" + CODE), report("import used\n" + CODE, PYTHONPATH=acme("1.0", tmp_path))
    assert here["code"] == there["code"]
    assert here["digest"] != there["digest"]


def test_the_version_counts_of_what_only_the_environment_of_a_step_has(
    mill: Mill, report: Callable[..., dict[str, str]]
) -> None:
    mill.write("used.py", LATE_ACME)
    assert len(set(report("import used\n" + CODE)["there"])) == 4


def test_a_namespace_shared_by_distributions_counts_by_the_one_that_is_used(
    mill: Mill, report: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    def site(one: str, two: str) -> str:
        root = tmp_path / f"{one}-{two}" / "site-packages"
        for name, version in (("one", one), ("two", two)):
            (root / "shared" / name).mkdir(parents=True)
            (root / "shared" / name / "__init__.py").write_text("def f(): pass\n")
            info = root / f"shared_{name}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: shared-{name}\nVersion: {version}\n")
            (info / "RECORD").write_text(f"shared/{name}/__init__.py,,\n")
        return str(root)

    steps = "import shared.one\nimport shared.two\n@step\ndef early(x: int): return shared.one.f()\n"
    steps += "@step\ndef lately(x: int):\n    import shared.one\n    return shared.one.f()\n"
    mill.write("used.py", f"from drystone.pipelines import step\n{steps}")
    program = "import used as steps\n" + REPORT
    base = report(program, PYTHONPATH=site("1", "1"))
    assert report(program, PYTHONPATH=site("1", "2")) == base
    other = report(program, PYTHONPATH=site("2", "1"))
    assert {name for name in base if base[name] != other[name]} == {"early", "lately"}


def test_an_extension_module_of_the_project_counts_by_its_file(
    mill: Mill, report: Callable[..., dict[str, str]]
) -> None:
    spec = importlib.util.find_spec("xxlimited")
    if spec is None or spec.origin is None:
        pytest.skip("this Python was built without its example of an extension module")
    copied = mill.root / Path(spec.origin).name
    copied.write_bytes(Path(spec.origin).read_bytes())
    steps = "import xxlimited\nfrom xxlimited import Xxo, new\n@step\ndef function(x: int): return new()\n"
    steps += "@step\ndef cls(x: int): return Xxo()\n@step\ndef chain(x: int): return xxlimited.foo(x, x)\n"
    steps += "@step\ndef late(x: int):\n    import xxlimited as x\n    return x.foo(1, 1)\n"
    steps += "@step\ndef none(x: int): return x\n"
    mill.write("used.py", f"from drystone.pipelines import step\n{steps}")
    before = report("import used as steps\n" + REPORT)
    copied.write_bytes(copied.read_bytes() + b" ")
    after = report("import used as steps\n" + REPORT)
    assert {name for name in before if before[name] == after[name]} == {"none"}


def test_an_origin_names_the_distribution_of_an_editable_install_too(
    mill: Mill, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path_factory.mktemp("venv") / "site-packages"
    info = site / "mill-3.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mill\nVersion: 3.1\n")
    (info / "RECORD").write_text("_editable_mill.pth,,\n")
    (site / "_editable_mill.pth").write_text(f"{mill.root}\n")
    monkeypatch.syspath_prepend(str(site))
    mill.write("extra.py", "")
    assert origin_of("mill.shapes") == Origin(project=True, package=("mill", "3.1"))
    assert origin_of("extra") == Origin(project=True)
    assert origin_of("json") == origin_of("drystone.stacks") == Origin()
    assert origin_of("attr").package == ("attrs", importlib.metadata.version("attrs"))
    assert mill.closures()["plain"].packages == {}


def test_packages_are_named_by_distribution(mill: Mill) -> None:
    closure = mill.step(
        """
        import attr
        import pytest
        import _pytest.mark
        @step
        def probed(x: int):
            return attr.evolve, pytest.mark, _pytest.mark
        """
    )
    assert set(closure.packages) == {"attrs", "pytest"}


def test_what_is_installed_counts_by_version_and_not_by_state(
    mill: Mill, report: Callable[..., dict[str, str]]
) -> None:
    lines = """
    from os import environ, getenv
    from random import random, shuffle
    from sys import stdout
    from numpy.random import rand
    from numpy import mean, float64, add
    from textwrap import dedent
    from functools import lru_cache, reduce
    from re import compile as compiled
    @step
    def using(x: int):
        return random(), rand, mean, float64, add, dedent, environ, getenv, stdout, lru_cache, reduce, compiled, shuffle
    """
    mill.write("used.py", "from drystone.pipelines import step\n" + textwrap.dedent(lines))
    program = "import random, numpy, used as steps\nrandom.random()\nnumpy.random.rand()\n" + REPORT
    assert report(program, FIRST="1") == report(program, SECOND="2") == report("import used as steps\n" + REPORT)


# --- what is declared -------------------------------------------------------------------------------------------------


def test_depends_on_adds_objects_modules_and_files(mill: Mill) -> None:
    text = """
    from mill import settings
    from mill.library import limited
    @step(depends_on=[limited, settings, "data/*.csv"])
    def probed(x: int):
        return x
    """
    mill.write("data/a.csv", "1,2")
    before = mill.step(text)
    assert {"mill.library.limited", "mill.settings", "mill.settings.UNUSED", "data/a.csv"} <= set(before.members)
    mill.write("data/a.csv", "1,3")
    assert mill.step(text).digest != before.digest
    mill.write("data/a.csv", "1,2")
    assert mill.step(text).digest == before.digest
    mill.write("data/b.csv", "")
    assert mill.step(text).digest != before.digest


def test_depends_on_a_pattern_without_a_file_is_a_problem(mill: Mill) -> None:
    closure = mill.step('@step(depends_on="data/*.parquet")\ndef probed(x: int):\n    return x')
    assert closure.digest is None
    assert "depends on 'data/*.parquet', but no file matches" in closure.problems[0]


@pytest.mark.parametrize("ignored", ["limited", "'mill.library.limited'", "'mill.library'", "library"])
def test_ignore_removes_code_and_is_itself_in_the_digest(mill: Mill, ignored: str) -> None:
    def closure() -> Closure:
        return mill.step(
            f"""
            from mill import library
            from mill.library import limited
            @step(ignore={ignored})
            def probed(x: int):
                return limited(x)
            """
        )

    before = closure()
    assert set(before.members) == {"extra.probed"}
    mill.edit("library", "return min(x, ", "return max(x, ")
    assert closure().digest == before.digest
    ignored = "()"
    assert closure().digest != before.digest


def test_ignore_of_something_that_is_never_reached_counts_too(mill: Mill) -> None:
    plain = mill.step("@step\ndef probed(x: int):\n    return x").digest
    assert mill.step("@step(ignore='elsewhere.f')\ndef probed(x: int):\n    return x").digest != plain


def test_a_plain_value_cannot_say_what_to_ignore(mill: Mill) -> None:
    closure = mill.step("@step(ignore=[True])\ndef probed(x: int):\n    return x")
    assert closure.digest is None
    assert "Step 'probed' ignores True, which says nothing of where it stands" in closure.problems[0]


def test_a_directory_and_an_absolute_path_can_be_depended_on(
    mill: Mill, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "a.txt"
    outside.write_text("a")
    mill.write("data/deep/a.csv", "1")
    text = f"@step(depends_on=['data', {str(outside)!r}])\ndef probed(x: int):\n    return x"
    before = mill.step(text)
    assert set(before.members) == {"extra.probed", "data/deep/a.csv", str(outside)}
    outside.write_text("b")
    assert mill.step(text).digest != before.digest


def test_a_state_that_cannot_be_read_is_a_problem_with_ways_out(mill: Mill) -> None:
    text = """
    connection = (each for each in [1])
    @step{}
    def probed(x: int):
        return next(connection)
    """
    closure = mill.step(text.format(""))
    assert closure.digest is None
    assert closure.problems[0].startswith("extra.connection is a builtins.generator, whose state cannot")
    assert "@step(ignore='extra.connection')" in closure.problems[0]
    assert mill.step(text.format("(ignore='extra.connection')")).problems == ()


# --- state ------------------------------------------------------------------------------------------------------------

DIFFERENT = {
    "defaultdict": ("from collections import defaultdict\nstate = defaultdict({})", "int", "list"),
    "deque": ("from collections import deque\nstate = deque([{}])", "1", "2"),
    "counter": ("from collections import Counter\nstate = Counter({})", "'ab'", "'aab'"),
    "generator of random numbers": ("import random\nstate = random.Random({})", "1", "2"),
    "numpy array": ("import numpy\nstate = numpy.arange({})", "3", "4"),
    "numpy generator": ("import numpy\nstate = numpy.random.default_rng({})", "3", "4"),
    "data frame": ("import pandas\nstate = pandas.DataFrame({{'a': [{}, 'x']}})", "1", "2"),
    "data frame with a column called name": ("import pandas\nstate = pandas.DataFrame({{'name': [{}, 2]}})", "1", "2"),
    "estimator": ("from sklearn.linear_model import Ridge\nstate = Ridge({})", "1.0", "2.0"),
    "slots": ("class C:\n    __slots__ = ('a',)\nstate = C()\nstate.a = {}", "1", "2"),
    "subclass of dict": ("class C(dict):\n    pass\nstate = C(a={})", "1", "2"),
    "cycle": ("class C: pass\nstate = C()\nstate.me = state\nstate.a = {}", "1", "2"),
    "exception": ("class E(Exception): pass\nstate = E({})", "1", "2"),
    "itemgetter": ("import operator\nstate = operator.itemgetter({})", "1", "2"),
    "bound method": ("state = [{}].count", "1", "2"),
    "method of an instance": ("class C:\n    a = {}\n    def m(self): return self.a\nstate = C().m", "1", "2"),
    "metaclass": ("class M(type):\n    a = {}\nclass state(metaclass=M): pass", "1", "2"),
    "swapped closures": ("def made(n):\n    return lambda: n\nstate = [made(n) for n in {}]", "(1, 2)", "(2, 1)"),
    "single dispatch": (
        "import functools\n@functools.singledispatch\ndef state(x): pass\n@state.register\ndef _(x: int): return {}",
        "1",
        "2",
    ),
    "context manager": ("import contextlib\n@contextlib.contextmanager\ndef state():\n    yield {}", "1", "2"),
    "cached property": (
        "import functools\nclass state:\n    @functools.cached_property\n    def p(self): return {}",
        "1",
        "2",
    ),
    "class method": ("class state:\n    @classmethod\n    def p(cls): return {}", "1", "2"),
    "mutable flag": ("import enum\nclass F(enum.Flag):\n    A = 1\n    B = 2\nstate = F.{}", "A", "B"),
    "hook of an enum": (
        "import enum\nclass state(enum.Enum):\n    A = 1\n    @classmethod\n    def _missing_(cls, v): return {}",
        "1",
        "2",
    ),
    "attribute of a function": ("def state(): pass\nstate.mark = {}", "1", "2"),
    "method of a dataclass, decorated": (
        "import contextlib, dataclasses\n@dataclasses.dataclass\nclass state:\n    a: int = 0\n"
        "    @contextlib.contextmanager\n    def m(self): yield {}",
        "1",
        "2",
    ),
    "cached property of an attrs class": (
        "import attrs, functools\n@attrs.define\nclass state:\n"
        "    @functools.cached_property\n    def p(self): return {}",
        "1",
        "2",
    ),
    "options of an attrs class": ("import attrs\n@attrs.{}\nclass state:\n    a: int = 0", "define", "frozen"),
    "boundary of flags": ("import enum\nclass state(enum.Flag, boundary=enum.{}):\n    A = 1", "STRICT", "KEEP"),
    "subclass of set": ("class C(set):\n    pass\nstate = C({})", "'ab'", "'ac'"),
    "keyword default": ("def state(*, a={}): pass", "1", "2"),
    "project class in a type alias": ("class C: pass\nclass D: pass\nstate = list[{}]", "C", "D"),
}


@pytest.mark.parametrize(("text", "one", "two"), DIFFERENT.values(), ids=DIFFERENT)
def test_the_state_of_what_a_module_holds_counts(mill: Mill, text: str, one: str, two: str) -> None:
    def closure(value: str) -> Closure:
        return mill.step(f"{text.format(value)}\n@step\ndef probed(x: int):\n    return state")

    first, again, second = closure(one), closure(one), closure(two)
    assert first.problems == again.problems == ()
    assert first.digest == again.digest
    assert first.digest != second.digest


def test_what_python_notes_on_a_class_when_it_copies_an_instance_does_not_count(mill: Mill) -> None:
    module = mill.load()
    before = mill.closure(module.stateful)
    copy.copy(module.states.scaler)
    assert mill.closure(module.stateful) == before == mill.closure(module.stateful)


def test_a_chain_of_a_thousand_helpers_is_followed(mill: Mill) -> None:
    helpers = "\n".join(f"def f{n}(x):\n    return f{n + 1}(x)" for n in range(1000))
    closure = mill.step(f"{helpers}\ndef f1000(x):\n    return x\n@step\ndef probed(x: int):\n    return f0(x)")
    assert len(closure.members) == 1002


def test_an_expression_too_deep_to_walk_counts_by_its_bytecode(mill: Mill) -> None:
    def closure(last: int) -> Closure:
        terms = " + ".join(f"x{n}" for n in range(2000))
        return mill.step(f"@step\ndef probed(x: int):\n    return {terms} + {last}")

    assert closure(1).edited == ()
    assert closure(1).digest == closure(1).digest != closure(2).digest


def test_a_late_import_too_deep_to_walk_counts_by_its_file(mill: Mill) -> None:
    def closure(last: int) -> Closure:
        mill.write("mill/depths.py", f"def deep(x):\n    return {'x + ' * 2000}{last}\n")
        return mill.step("@step\ndef probed(x: int):\n    from mill.depths import deep\n    return deep(x)")

    assert closure(1).digest == closure(1).digest != closure(2).digest


def test_a_step_that_calls_another_depends_on_it(mill: Mill) -> None:
    text = """
    @step
    def inner(x: int) -> {}:
        return x + {}
    @step
    def probed(x: int):
        return inner(x)
    """
    before = mill.step(text.format("int", 1))
    assert set(before.members) == {"extra.probed", "extra.inner"}
    assert mill.step(text.format("float", 1)).digest == before.digest
    assert mill.step(text.format("int", 2)).digest != before.digest


def test_a_decorator_below_step_is_seen_and_the_return_annotation_still_is_not(mill: Mill) -> None:
    text = """
    from mill.decorators import plus
    @step
    @plus({})
    def probed(x: int) -> {}:
        return x
    """
    before = mill.step(text.format(1, "int"))
    assert mill.step(text.format(1, "float")).digest == before.digest
    assert mill.step(text.format(2, "int")).digest != before.digest


def test_a_function_has_one_digest_whether_or_not_a_step_was_made_of_it_before(mill: Mill) -> None:
    text = """
    def helped(x: int) -> int:
        return x
    stepped = step(helped)
    @step
    def probed(x: int):
        return helped(x)
    """
    alone = mill.step(text).digest
    fingerprints, module = Fingerprints(mill.root), mill.load("extra")
    fingerprints.closure(module.stepped)
    assert fingerprints.closure(module.probed).digest == alone


def test_a_string_that_equals_an_ignored_name_still_counts(mill: Mill) -> None:
    text = "NAME = '{}'\n@step(ignore='elsewhere')\ndef probed(x: int):\n    return NAME"
    assert "extra.NAME" in mill.step(text.format("elsewhere")).members


def test_a_late_import_with_a_fallback_counts_with_both(mill: Mill) -> None:
    text = "@step\ndef probed(x: int):\n    from mill.fallback import best\n    return best(x)"
    fallback = "try:\n    from mill.deep import deepest as best\nexcept ImportError:\n    best = {}\n"
    mill.write("mill/fallback.py", fallback.format("abs"))
    before = mill.step(text)
    assert "mill.deep.deepest" in before.members
    mill.write("mill/fallback.py", fallback.format("round"))
    assert mill.step(text).digest != before.digest


def test_what_a_handler_guards_counts(mill: Mill) -> None:
    text = "@step\ndef probed(x):\n    try:\n        abs(x)\n{}    except TypeError:\n        pass\n{}"
    before, loaded = mill.step(text.format("        len(x)\n", "")), mill.load("extra")
    assert mill.step(text.format("", "    else:\n        len(x)\n")).digest != before.digest
    assert mill.closure(loaded.probed).edited == ("extra.probed",)


def test_recursion_is_followed_once(mill: Mill) -> None:
    closure = mill.step(
        """
        def even(n): return n == 0 or odd(n - 1)
        def odd(n): return n != 0 and even(n - 1)
        @step
        def probed(n: int):
            return even(n)
        """
    )
    assert set(closure.members) == {"extra.probed", "extra.even", "extra.odd"}


# --- keys -------------------------------------------------------------------------------------------------------------


def test_everything_in_a_key_changes_it(mill: Mill) -> None:
    closures = mill.closures()
    closure = closures["plain"]
    keys = {
        step_key(closure, {"x": "1"}, {"y": "2"}, ("int", 1)),
        step_key(closures["helped"], {"x": "1"}, {"y": "2"}, ("int", 1)),
        step_key(closure, {"x": "2"}, {"y": "2"}, ("int", 1)),
        step_key(closure, {"z": "1"}, {"y": "2"}, ("int", 1)),
        step_key(closure, {"x": "1"}, {"y": "3"}, ("int", 1)),
        step_key(closure, {"x": "1", "y": "2"}, {}, ("int", 1)),
        step_key(closure, {"x": "1"}, {"y": "2"}, ("int", 2)),
        step_key(closure, {"x": "1"}, {"y": "2"}, ("int", 1), salt="again"),
        step_key(closure, {"x": "1"}, {"y": "2"}, ("int", 1), ignore_inputs=["y"]),
    }
    assert len(keys) == 9


def test_ignored_inputs_do_not_count(mill: Mill) -> None:
    closure = mill.closures()["plain"]
    one = step_key(closure, {"x": "1"}, {"y": "2"}, (), ignore_inputs=["x", "y"])
    assert one == step_key(closure, {"x": "3"}, {"y": "4"}, (), ignore_inputs=["y", "x"])


# --- known holes: docs/reference/cache-limits.md ----------------------------------------------------------------------


@pytest.mark.xfail(strict=True, reason="a name that exists as a string only cannot be followed")
def test_hole_an_attribute_taken_by_its_name(mill: Mill) -> None:
    text = """
    from importlib import import_module
    @step
    def probed(x: int):
        return getattr(import_module("mill.deep"), "deepest")(x)
    """
    before = mill.step(text).digest
    mill.edit("deep", "return x * 2", "return x * 3")
    assert mill.step(text).digest != before


@pytest.mark.xfail(strict=True, reason="what a step reads from disk is not in its code")
def test_hole_a_data_file_read_inside_a_step(mill: Mill) -> None:
    text = f"@step\ndef probed(x: int):\n    return open({str(mill.root / 'data.txt')!r}).read()"
    mill.write("data.txt", "one")
    before = mill.step(text).digest
    mill.write("data.txt", "two")
    assert mill.step(text).digest != before


@pytest.mark.xfail(strict=True, reason="nothing in the step's code names the class of what it is given")
def test_hole_a_method_of_an_unannotated_parameter(mill: Mill) -> None:
    text = "@step\ndef probed(shape):\n    return shape.area(1)"
    before = mill.step(f"from mill.shapes import Shape\n{text}").digest
    mill.edit("shapes", "self.inherited(x) * self.sides", "self.inherited(x) + self.sides")
    assert mill.step(f"from mill.shapes import Shape\n{text}").digest != before
