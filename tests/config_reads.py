"""Which settings a stage reads, found in its code: the calls that `run` leads to, name by name.

A name that stands for a config is known by its annotation, by a field of a class, or by where it
was assigned; what is read of it is followed through properties down to the fields.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from src.config import RunConfig
from src.config.flags import flags_of

SRC = Path(__file__).resolve().parents[1] / "src"
FIELDS = {flag.name for flag in flags_of(RunConfig)}
#: Functions that take every field of the config that they are given.
WHOLE = {"asdict", "vars", "fields"}
Place = tuple[str, str]  # a module's dotted name, and a name in it


@dataclasses.dataclass
class Module:
    """A module: its functions and classes by name, and what its other names were imported from."""

    own: dict[str, ast.AST]
    imported: dict[str, Place]


def _target(module: str, node: ast.ImportFrom, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, *filter(None, [node.module])])


@cache
def modules() -> dict[str, Module]:
    """Return every module of `src` by its dotted name."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        name = ".".join(("src", *path.relative_to(SRC).with_suffix("").parts))
        is_package = name.endswith(".__init__")
        name = name.removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = {
            node.name: node
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        for node in tree.body:  # a table of functions leads to each of them
            for target in getattr(node, "targets", [getattr(node, "target", None)]):
                if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name):
                    own[target.id] = node
        imported = {
            alias.asname or alias.name: (_target(name, node, is_package), alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        found[name] = Module(own, imported)
    return found


def resolve(module: str, name: str) -> Place | None:
    """Return where a name of a module is defined, through what packages hand on."""
    for _ in range(5):
        if module not in modules():
            return None
        here = modules()[module]
        if name in here.own:
            return module, name
        if name not in here.imported:
            return None
        module, name = here.imported[name]
        if f"{module}.{name}" in modules():
            return f"{module}.{name}", ""
    return None


def node_of(place: Place) -> ast.AST:
    return modules()[place[0]].own[place[1]]


def class_in(module: str, annotation: ast.AST | None) -> Place | None:
    """Return the class of `src` that an annotation names; of ``X | None``, X."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.BinOp):
        return class_in(module, annotation.left)
    place = resolve(module, annotation.id) if isinstance(annotation, ast.Name) else None
    is_class = place and place[1] and isinstance(node_of(place), ast.ClassDef)
    return place if is_class else None


def _pairs(node: ast.Assign) -> list[tuple[ast.expr, ast.expr]]:
    """Return target and value of an assignment, one by one: of ``a, b = c, d``, two."""
    target, value = node.targets[0], node.value
    both = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
    return [*zip(target.elts, value.elts, strict=False)] if both else [(target, value)]


class Function:
    """One function: what it reads of configs, and which other functions it may call."""

    def __init__(self, module: str, node: ast.AST, owner: Place | None = None) -> None:
        self.module, self.node, self.owner = module, node, owner
        self.known: dict[str, Place] = {"self": owner} if owner else {}
        for part in ast.walk(node):
            if isinstance(part, ast.arg) and (kind := class_in(module, part.annotation)):
                self.known[part.arg] = kind
        for part in ast.walk(node):
            if isinstance(part, ast.Assign):
                self._learn(part)

    def _learn(self, node: ast.Assign) -> None:
        for name, given in _pairs(node):
            kind = self.kind(given)
            if isinstance(name, ast.Name) and kind:
                self.known[name.id] = kind

    def kind(self, node: ast.AST) -> Place | None:
        """Return the class of an expression, where it is one of `src` and can be told."""
        if isinstance(node, ast.Name):
            return self.known.get(node.id)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "replace" and node.args:
                return self.kind(node.args[0])
            place = resolve(self.module, node.func.id)
            if place and place[1]:
                called = node_of(place)
                if isinstance(called, ast.ClassDef):
                    return place
                return class_in(place[0], getattr(called, "returns", None))
        if isinstance(node, ast.Attribute):
            owner = self.kind(node.value)
            return member(owner, node.attr) if owner else None
        return None

    def reads(self) -> Iterator[str]:
        """Yield the names of settings that are read here."""
        for node in ast.walk(self.node):
            if isinstance(node, ast.Attribute) and (owner := self.kind(node.value)):
                yield from field_or_property(owner, node.attr)
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in WHOLE:
                # A function of our own may have the name of one of them, and take nothing.
                owner = self.kind(node.args[0]) if node.args else None
                if owner and owner[0].startswith("src.config."):
                    yield from fields_of(owner)

    def leads_to(self) -> Iterator[Place]:
        """Yield functions and classes that are named here."""
        for node in ast.walk(self.node):
            if isinstance(node, ast.Name):
                place = resolve(self.module, node.id)
                if place and place[1]:
                    yield place
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                place = resolve(self.module, node.value.id)
                if place and not place[1] and (found := resolve(place[0], node.attr)):
                    yield found


@cache
def member(owner: Place, name: str) -> Place | None:
    """Return the class of an attribute of a class of `src`."""
    for node in ast.walk(node_of(owner)):
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == name:
            return class_in(owner[0], node.annotation)
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return class_in(owner[0], node.returns)
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            annotated = {
                arg.arg: arg.annotation for arg in [*node.args.args, *node.args.kwonlyargs]
            }
            for part in ast.walk(node):
                for target, value in _pairs(part) if isinstance(part, ast.Assign) else ():
                    if getattr(target, "attr", "") == name and isinstance(value, ast.Name):
                        return class_in(owner[0], annotated.get(value.id))
    return None


def fields_of(owner: Place) -> set[str]:
    body = getattr(node_of(owner), "body", [])
    return {n.target.id for n in body if isinstance(n, ast.AnnAssign)} & FIELDS


@cache
def field_or_property(owner: Place, name: str) -> frozenset[str]:
    """Return the settings that an attribute of a config stands for; of other classes, none."""
    if not owner[0].startswith("src.config."):
        return frozenset()
    if name in fields_of(owner):
        return frozenset({name})
    for node in getattr(node_of(owner), "body", []):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return frozenset(Function(owner[0], node, owner).reads())
    return frozenset()


def functions(place: Place) -> Iterator[Function]:
    """Yield a function, or all that a class or a table holds."""
    node = node_of(place)
    if not isinstance(node, ast.ClassDef):
        yield Function(place[0], node)
        return
    for part in node.body:
        yield Function(place[0], part, place)


def reads_from(*starts: Place) -> dict[str, set[str]]:
    """Return the settings read by functions and all that they lead to, with where each is read."""
    left, seen, found = list(starts), set(starts), {}
    while left:
        place = left.pop()
        if place[0].startswith("src.config"):
            continue  # what a config does with its own fields is no use of them
        for function in functions(place):
            for name in function.reads():
                found.setdefault(name, set()).add(".".join(place))
            new = {*function.leads_to()} - seen
            seen |= new
            left += new
    return found
