"""The house is what docs/architecture.md says: rooms, floors, and no circle of imports."""

import ast
import configparser
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
ROOMS = sorted(path.parent.name for path in SRC.glob("*/__init__.py"))
FLAT = sorted(path.name for path in SRC.glob("*.py"))
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def in_order(imports):
    """Return the modules so that each stands after those that it imports; a circle has none."""
    return list(TopologicalSorter(imports).static_order())


def listed():
    """Return the files of the list of rooms, as paths below src."""
    block = PAGE.partition("\nsrc/\n")[2].partition("```")[0]
    found, above = [], []
    for line in block.splitlines():
        indent, name = re.match(r"( *)(\S+)", line).groups()
        above = [*above[: len(indent) // 2 - 1], name.rstrip("/")]
        if name.endswith(".py"):
            found.append("/".join(above))
    return found


def floors():
    """Return the floors of the import contract, from the command line down."""
    contract = configparser.ConfigParser()
    contract.read(ROOT / ".importlinter", encoding="utf-8")
    lines = contract["importlinter:contract:layers"]["layers"].split("\n")
    return [re.findall(r"src\.(\w+)", line) for line in lines if line]


def test_no_module_is_imported_in_a_circle():
    graph = grimp.build_graph("src", cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(in_order(imports)) == len(graph.modules) > 200


def test_a_circle_is_found():
    with pytest.raises(CycleError):
        in_order({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def test_the_house_is_small():
    assert len(ROOMS) == 14
    assert len(FLAT) == 12
    assert len(floors()) == 14


def test_every_room_and_flat_file_has_its_floor():
    flat = {name.removesuffix(".py") for name in FLAT} - {"__init__"}
    assert sorted(name for floor in floors() for name in floor) == sorted([*ROOMS, *flat])


def test_every_file_is_listed_once_and_nothing_else_is():
    rooms = {"/".join(path.relative_to(SRC).parts) for path in SRC.rglob("*.py")}
    there = {name for name in rooms if "/" not in name or not name.endswith("__init__.py")}
    assert sorted(listed()) == sorted(there)


def test_every_room_says_what_is_inside():
    silent = []
    for path in SRC.rglob("__init__.py"):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        silent += [str(path)] if len(text) < 30 else []
    assert silent == []
