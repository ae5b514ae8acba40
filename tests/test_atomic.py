"""Files are there whole, or not at all."""

import json
import stat

import pytest

from src.atomic import atomic_file, write_json


def test_text_is_utf8_with_plain_line_ends_in_folders_that_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "table.csv"
    with atomic_file(path, "w") as file:
        file.write("größe\n")
    assert path.read_bytes() == "größe\n".encode()


def test_an_error_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(b"old")

    def write_half():
        with atomic_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [file.name for file in tmp_path.iterdir()] == ["model.pth"]
    assert path.read_bytes() == b"old"


def test_the_place_is_empty_until_the_end(tmp_path):
    path = tmp_path / "model.pth"
    with atomic_file(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"


def test_a_group_can_read_the_file(tmp_path):
    with atomic_file(tmp_path / "x") as file:
        file.write(b"")
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o644


def test_json_comes_back(tmp_path):
    content = {"classes": ["a", "ä"], "n": None}
    path = write_json(tmp_path / "x.json", content)
    assert json.loads(path.read_text(encoding="utf-8")) == content
    assert "ä" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [float("nan"), {"x": object()}])
def test_what_no_reader_could_parse_is_refused_and_the_old_file_stays(tmp_path, content):
    path = write_json(tmp_path / "x.json", 1)
    with pytest.raises((ValueError, TypeError)):
        write_json(path, content)
    assert path.read_text(encoding="utf-8") == "1\n"
    assert len(list(tmp_path.iterdir())) == 1
