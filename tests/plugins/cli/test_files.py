"""Files of parameters that cannot be read, and those that only look odd."""

from __future__ import annotations

import pytest

from drystone_cli.files import FileError, load

WRONG = {
    "a.toml": ("x = 1\nx = 2\n", "it is no TOML: Cannot overwrite a value (at line 2, column 6)."),
    "b.toml": ("x = \n", "it is no TOML: Invalid value (at line 1, column 5)."),
    "c.json": ('{"a": {"x": 1, "x": 2}}', "'x' is given twice."),
    "d.json": ('{"a": 1,\n}', "it is no JSON: "),
    "e.json": ("[1]", "it holds no table, but list."),
    "f.yaml": ("a:\n  x: 1\n  'x': 2\n", "'x' is given twice (at line 3, column 3)."),
    "g.yml": ("a: [1\nb: 2\n", "it is no YAML: expected ',' or ']', but got ':' (at line 2, column 2)."),
    "h.yaml": ("a: !!python/object:os.system {}", "it is no YAML: could not determine a constructor for the tag"),
    "i.yaml": ("a: 1\n---\nb: 2\n", "it is no YAML: but found another document (at line 2, column 1)."),
    "j.yaml": ("a: \x07", "it is no YAML: unacceptable character #x0007: special characters are not allowed"),
    "k.yaml": ("- 1", "it holds no table, but list."),
    "l.ini": ("[a]", "its name must end in one of .toml, .json, .yaml, .yml."),
    "m.toml": ("x = 'ü'".encode("latin-1"), "it is not UTF-8: invalid start byte at byte 5."),
    "n.json": ("[" * 100_000, "it is nested too deeply."),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_read_says_why_and_where(tmp_path, name):
    text, message = WRONG[name]
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FileError) as caught:
        load(tmp_path / name)
    assert str(caught.value).startswith(message)


def test_a_file_that_is_not_there_or_is_a_directory_says_so(tmp_path):
    (tmp_path / "dir.toml").mkdir()
    for name, reason in {"none.toml": "No such file or directory", "dir.toml": "Is a directory"}.items():
        with pytest.raises(FileError) as caught:
            load(tmp_path / name)
        assert str(caught.value) == f"it cannot be read: {reason}."


def test_an_empty_file_holds_nothing_and_a_byte_order_mark_does_not_count(tmp_path):
    for name, content in {"a.yaml": b"", "b.toml": b"", "c.json": b"{}", "d.toml": b"\xef\xbb\xbf"}.items():
        (tmp_path / name).write_bytes(content)
        assert load(tmp_path / name) == {}


def test_anchors_and_merged_tables_of_yaml_are_what_they_mean(tmp_path):
    (tmp_path / "a.yaml").write_text("base: &base {x: 1, y: 2}\nother:\n  <<: *base\n  y: 3\n")
    assert load(tmp_path / "a.yaml")["other"] == {"x": "1", "y": "3"}
