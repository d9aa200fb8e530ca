"""The package as its files say it is: modules, what they import, what they define."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPO_ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOT = REPO_ROOT / "src"


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, as a dotted name."""

    target: str
    """Below the package root when `relative`, else a top-level module of someone else's."""
    relative: bool
    at_import_time: bool
    """Neither inside a function nor inside `if TYPE_CHECKING:`."""
    line: int


@dataclass(frozen=True, slots=True)
class Module:
    """One file of the package; `name` is relative to the package root, which is the empty name."""

    name: str
    path: Path
    tree: ast.Module

    def imports(self) -> Iterator[Import]:
        """Every import statement, wherever it stands."""
        for node, at_import_time in _walk(self.tree, at_import_time=True):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, False, at_import_time, node.lineno)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield Import(node.module or "", False, at_import_time, node.lineno)
            elif isinstance(node, ast.ImportFrom):
                for target in self._relative_targets(node):
                    yield Import(target, True, at_import_time, node.lineno)

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function and method."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def _relative_targets(self, node: ast.ImportFrom) -> Iterator[str]:
        package = self.name.split(".") if self.name else []
        if self.path.name != "__init__.py":
            package.pop()
        base = package[: len(package) - node.level + 1]
        base += (node.module or "").split(".") if node.module else []
        for alias in node.names:
            # `from .package import module` names a module, `from .module import name` does not.
            submodule = ".".join((*base, alias.name))
            yield submodule if submodule in module_names() else ".".join(base)


@cache
def all_modules() -> tuple[Module, ...]:
    """Every module of the package, sorted by name."""
    return tuple(
        Module(name, path, ast.parse(path.read_text(encoding="utf-8"), str(path)))
        for name, path in sorted(_module_paths().items())
    )


@cache
def module_names() -> frozenset[str]:
    """Dotted names of every module of the package."""
    return frozenset(_module_paths())


def _module_paths() -> dict[str, Path]:
    paths = {}
    for path in SOURCE_ROOT.rglob("*.py"):
        parts = path.relative_to(SOURCE_ROOT).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return paths


def _walk(node: ast.AST, *, at_import_time: bool) -> Iterator[tuple[ast.AST, bool]]:
    yield node, at_import_time
    for_types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    in_call = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, at_import_time=at_import_time and not for_types and not in_call)
