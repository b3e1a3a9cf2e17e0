"""Graphs as drawings: what stands where, and that whatever is drawn is well-formed and harmless."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from drystone.drawings import HEIGHT, WIDTH, Box, Layout, Markup, drawn, tag

SVG = "{http://www.w3.org/2000/svg}"


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[str], dict[str, list[str]]]:
    """Names in an order that can be executed, and what each depends on."""
    names = [f"n{number}" for number in range(draw(st.integers(0, 14)))]
    upstream = {name: draw(st.lists(st.sampled_from(names[:at]), max_size=4)) for at, name in enumerate(names) if at}
    return names, upstream


@given(graphs())
def test_each_box_stands_below_what_it_depends_on_and_beside_no_other_at_the_same_place(graph):
    names, upstream = graph
    layout = Layout(names, upstream)
    places = {name: layout.place((name, 0)) for name in names}
    for name, before in upstream.items():
        assert all(places[each][1] + HEIGHT < places[name][1] for each in before)
    for (x, y), (other_x, other_y) in combinations(places.values(), 2):
        assert y != other_y or abs(x - other_x) > WIDTH
    half = WIDTH / 2 - 0.001
    assert all(half <= x <= layout.width - half and y + HEIGHT <= layout.height for x, y in places.values())


@given(graphs())
def test_no_line_runs_through_a_box(graph):
    names, upstream = graph
    layout = Layout(names, upstream)
    places = [layout.place((name, 0)) for name in names]
    assert len(layout.lines) == sum(len(set(before)) for before in upstream.values())
    for points in layout.lines:
        assert all(y < next_y for (_, y), (_, next_y) in pairwise(points))
        for x, y in points[1:-1]:
            assert all(y != box_y or abs(x - box_x) > WIDTH / 2 for box_x, box_y in places)


def test_a_chain_is_one_column() -> None:
    layout = Layout(["a", "b", "c"], {"b": ["a"], "c": ["b"]})
    assert [layout.place((name, 0))[0] for name in "abc"] == [WIDTH / 2] * 3
    assert layout.width == WIDTH


def test_what_a_graph_does_not_know_or_knows_only_later_is_no_reason_to_fail() -> None:
    assert Layout(["a", "b"], {"a": ["b", "a"], "b": ["gone"]}).lines == []


@given(st.text(), st.text())
def test_a_drawing_is_well_formed_whatever_is_written_in_it(name, text):
    if re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", name + text):
        return  # characters that no document may hold
    root = ElementTree.fromstring(drawn([Box(name=name, text=text)], {}, f"The run {name}"))
    assert {element.tag for element in root.iter()} <= {SVG + each for each in ("svg", "path", "rect", "text", "title")}
    assert [" ".join((each.text or "").split()) for each in root.iter(f"{SVG}title")] == [
        " ".join((f"{name}: {text}" if text else name).split())
    ]


def test_a_drawing_says_in_words_what_it_shows() -> None:
    root = ElementTree.fromstring(drawn([Box(name="a")], {}, "The run p-1: a succeeded"))
    assert (root.get("role"), root.get("aria-label")) == ("img", "The run p-1: a succeeded")


def test_text_is_escaped_and_markup_is_not() -> None:
    inner = tag("b", "<i> & 'x'", title='"')
    assert inner == '<b title="&quot;">&lt;i&gt; &amp; &#x27;x&#x27;</b>'
    assert tag("p", inner, "<i>") == f"<p>{inner}&lt;i&gt;</p>"
    assert isinstance(inner, Markup)


def test_long_names_are_shortened_in_the_box_and_whole_in_its_tooltip() -> None:
    name = "a_step_with_a_name_that_no_box_can_hold"
    root = ElementTree.fromstring(drawn([Box(name=name)], {}, ""))
    assert next(each.text for each in root.iter(f"{SVG}text")) == "a_step_with_a_name_th…"
    assert [each.text for each in root.iter(f"{SVG}title")] == [name]
