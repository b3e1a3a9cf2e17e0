"""What a notebook shows of runs, plans and graphs."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Annotated

import attrs
import pytest

from drystone import Workspace, pipeline, step
from drystone.errors import RunFailedError
from drystone.runs import Plan, Run, StepPlan, headline

EVIL = "<script>alert('x')</script> & \"more\""


class Page(HTMLParser):
    """What a browser would make of a page: its elements, and its text without tags."""

    VOID = frozenset({"br", "img", "link", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.parts: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.parts.append(data)
        if "td" in self.open:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return "".join(self.parts)

    @property
    def drawings(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == "svg" and "role" in attributes]

    def row(self, name: str) -> list[str]:
        """The cells of the row of a table that begins with a name, without that."""
        return next(row[1:] for row in self.rows if row[:1] == [name])


@step
def load(rows: int) -> Annotated[list[int], "numbers"]:
    return list(range(rows))


@step
def explode(data: list[int]) -> int:
    raise ValueError(f"{EVIL}\nand a second line")


@step
def use(number: int) -> None: ...


@step
def tidy() -> None: ...


@pipeline
def mixed(rows: int = 3, note: str = EVIL):
    numbers = load(rows)
    use(explode(numbers))
    tidy.with_options(after=numbers)()
    return numbers


def run_of(**parameters: int) -> Run:
    with pytest.raises(RunFailedError) as caught:
        mixed(**parameters)
    return caught.value.run


def page_of(record: object) -> Page:
    html: str = record._repr_html_()  # type: ignore[attr-defined]
    page = Page(html)
    assert page.open == []
    return page


def test_a_run_shows_its_graph_errors_outputs_and_steps(workspace: Workspace) -> None:
    run_of()
    page = page_of(run_of())
    assert page.text.startswith("mixed-2 ✗ failed in ")
    assert "2 cached, 1 failed, 1 skipped" in page.text
    assert f"✗ explode: ValueError: {EVIL}Traceback" in page.text
    assert "raise ValueError" in page.text
    assert ["numbers", "numbers@1", "list", "7 B"] in page.rows
    assert ["load", "cached from mixed-1", "", "numbers@1"] in page.rows
    assert page.row("use")[0] == "skipped: step 'explode', which it depends on, was failed"


def test_the_drawing_of_a_run_has_every_edge_also_those_of_order_alone(workspace: Workspace) -> None:
    run = run_of()
    assert run.upstream == {"explode": ("load",), "use": ("explode",), "tidy": ("load",)}
    label = page_of(run).drawings[0]["aria-label"] or ""
    assert label.startswith("The run mixed-1: load succeeded in ")
    assert re.search(r"tidy succeeded in [^;]*, after load$", label)
    assert Workspace.current().run("mixed-1").upstream == run.upstream


def test_a_plan_shows_what_would_run_and_why(workspace: Workspace) -> None:
    run_of()
    plan = mixed.plan(rows=4)
    page = page_of(plan)
    assert page.text.startswith("Plan of mixed on stack default · 2 run, 1 maybe, 1 cached")
    assert re.fullmatch(r"run \(about \d+ m?s, inline\)", page.row("load")[0])
    assert page.row("load")[1] == "parameter rows 3 → 4"
    assert re.search(r" · takes about \d", page.text)
    assert plan.upstream["tidy"] == ("load",)
    assert "; use " in (page.drawings[0]["aria-label"] or "")


def test_a_graph_is_drawn_before_anything_ran(workspace: Workspace) -> None:
    page = page_of(mixed.graph())
    assert page.text.startswith("mixed: 4 steps")
    assert page.row("explode")[:2] == ["load", "data"]


def test_a_page_runs_no_script_and_loads_nothing(workspace: Workspace) -> None:
    run_of()
    for record in (run_of(), mixed.plan(rows=9), mixed.graph()):
        page = page_of(record)
        assert not {tag for tag, _ in page.elements} & {"script", "style", "link", "img", "iframe", "use", "image"}
        for _, attributes in page.elements:
            assert not {name for name in attributes if name.startswith("on") or name in ("href", "src", "id", "class")}
            assert "url(" not in (attributes.get("style") or "")


def test_text_has_the_colour_of_the_page_it_stands_in(workspace: Workspace) -> None:
    for tag, attributes in page_of(run_of()).elements:
        assert not re.search(r"(?<!-)\b(color|background)\b", attributes.get("style") or ""), tag
        if tag == "text":
            assert "fill" not in attributes


def many(count: int, status: str) -> dict[str, StepPlan]:
    return {f"s{at}": StepPlan(name=f"s{at}", status="run" if at == 2000 else status) for at in range(count)}


def test_of_very_many_steps_a_table_lists_those_that_matter_and_nothing_is_drawn() -> None:
    plan = Plan(pipeline="wide", stack="default", steps=many(3000, "cached"), upstream={"s1": ("s0",)})
    page = page_of(plan)
    assert page.drawings == []
    assert "3000 steps with 1 lines between them are too many for a drawing" in page.text
    assert "Steps (3000, of which 500 are listed)" in page.text
    assert page.row("s2000")[0] == "run"
    assert len(plan._repr_html_()) < 300_000


def test_a_run_that_has_not_ended_and_knows_no_edges_has_a_page(workspace: Workspace) -> None:
    run = attrs.evolve(run_of(), status="running", ended_at=None, upstream={}, error=None)
    assert "… running" in page_of(run).text


def test_a_map_tells_how_many_of_its_elements_ended_how(workspace: Workspace) -> None:
    run = run_of()
    whole = attrs.evolve(run.steps["load"], counts={"succeeded": 9998, "failed": 2})
    page = page_of(attrs.evolve(run, steps={**run.steps, "load": whole}))
    assert page.row("load")[0].endswith(", 10000 elements: 9998 succeeded, 2 failed")
    step = StepPlan(name="sq", status="run", elements={"run": 3, "cached": 4})
    assert page_of(Plan(pipeline="p", stack="s", steps={"sq": step})).row("sq")[0] == "run, elements: 3 run, 4 cached"


def test_an_error_in_one_line_is_the_exception_of_its_traceback() -> None:
    trace = "Traceback (most recent call last):\n  File x\n    boom()\nKeyError: 1\n\nDuring handling of it:\n\n"
    assert headline(f"{trace}Traceback (most recent call last):\n  File y\nfoo.Bar: no\n  more\n") == "foo.Bar: no"
    assert headline("step 'a', which it depends on, was failed") == "step 'a', which it depends on, was failed"
    try:
        raise ExceptionGroup("two", [ValueError("a"), ValueError("b")])
    except ExceptionGroup:
        import traceback

        assert headline(traceback.format_exc()) == "ExceptionGroup: two (2 sub-exceptions)"
    assert headline("") == ""


def test_the_page_about_notebooks_says_what_is_so(python, project) -> None:
    page = Path(__file__).parents[2] / "docs/how-to/watching-runs.md"
    module, cells = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    (project / "adding.py").write_text(module)
    script = re.sub(r"^([\w.]+(?:\(.*\))?) +#.*$", r"print(\1._repr_html_())", cells, flags=re.MULTILINE)
    done = python("-c", script)
    assert done.stderr == ""
    assert done.stdout.count("<svg xmlns") == 4
    assert "parameter count 3 → 4" in done.stdout
