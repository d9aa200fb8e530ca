"""Private names of libraries are used in few modules, and a canary test names every one of them.

A release that renames one then fails a test that says which, before an upload does.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.structure.modules import REPO_ROOT, Module, all_modules

#: Who uses private names of a library, and the test that notices when those change.
CANARIES = {
    "transport.protocols.aioquic_": "tests/http3/test_canary.py",
    "transport.protocols.h2_private": "tests/http2/test_canary.py",
    "transport.protocols.h11_private": "tests/http1/test_h11_canary.py",
    "api.receiver.hypercorn_repairs": "tests/cli/test_receiver_hypercorn.py",
}
#: Modules of libraries whose names say that they are private.
PRIVATE_MODULE = re.compile(r"(^|\.)_(?!_)")


@pytest.mark.parametrize("prefix", CANARIES)
def test_the_canary_names_every_private_name(prefix: str) -> None:
    canary = (REPO_ROOT / CANARIES[prefix]).read_text(encoding="utf-8")
    named = set(re.findall(r"[\w.]+", canary)) | set(re.findall(r"\w+", canary))
    users = [module for module in all_modules() if module.name.startswith(prefix)]
    assert users
    unnamed = {module.name: sorted(set(foreign_names(module)) - named) for module in users}
    assert {name: names for name, names in unnamed.items() if names} == {}


def test_nobody_else_uses_private_names() -> None:
    found = {
        module.name: sorted(set(foreign_names(module)))
        for module in all_modules()
        if not module.name.startswith(tuple(CANARIES))
    }
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("source", "foreign"),
    [
        ("thing._name", ["_name"]),
        ("super()._name()", ["_name"]),
        ("from library._inside import name", ["library._inside"]),
        ("class A(B):\n def f(self): self._name", ["_name"]),
        ("class A:\n def __init__(self): self._name = 1\n def f(self): self._name", []),
        ("class A(B):\n def f(self): self._name = 1", ["_name"]),
        ("class A:\n def f(self): self._name = 1", []),
        ("class A:\n _name = 1\n def f(self, other): self._name, other._name", []),
        ("class A:\n __slots__ = ('_name',)\n def f(self): self._name", []),
        ("def f(a: library._Name) -> library._Name: ...", []),
    ],
)
def test_foreign_names_are_found(source: str, foreign: list[str]) -> None:
    module = Module("a", REPO_ROOT, ast.parse(source))
    assert list(foreign_names(module)) == foreign


def foreign_names(module: Module) -> Iterator[str]:
    """Private attributes that no class of the module defines, and private modules of others."""
    own = set(own_names(module.tree))
    annotations = {id(node) for node in annotation_nodes(module.tree)}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            if PRIVATE_MODULE.search(node.module):
                yield node.module
        elif isinstance(node, ast.Attribute) and id(node) not in annotations:
            private = node.attr.startswith("_") and not node.attr.startswith("__")
            inherited = ast.unparse(node.value) == "super()"
            if private and (inherited or node.attr not in own):
                yield node.attr


def own_names(tree: ast.Module) -> Iterator[str]:
    """What the classes of a module define: in their bodies, in slots, and in constructors.

    Elsewhere, a class with bases may set what one of those has.
    """
    for made in ast.walk(tree):
        if not isinstance(made, ast.ClassDef):
            continue
        for node in made.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name
            elif isinstance(node, ast.Assign):
                yield from (each.id for each in node.targets if isinstance(each, ast.Name))
                yield from (
                    str(each.value) for each in ast.walk(node) if isinstance(each, ast.Constant)
                )
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node.target.id
            if getattr(node, "name", "") == "__init__" or not made.bases:
                yield from (
                    each.attr
                    for each in ast.walk(node)
                    if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store)
                )


def annotation_nodes(tree: ast.Module) -> Iterator[ast.AST]:
    """Everything inside annotations, which nobody evaluates."""
    for node in ast.walk(tree):
        found = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        for annotation in filter(None, found):
            yield from ast.walk(annotation)
