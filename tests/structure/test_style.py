"""Files and functions stay small, errors stay drawn, nothing is left for later."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

from tests.structure.modules import REPO_ROOT, SOURCE_ROOT, all_modules
from trilane.transport import errors

FILE_CEILING = 600
FILE_MEDIAN = 200
FUNCTION_CEILING = 60
FUNCTION_MEDIAN = 10

# Put together here, so that this file does not find itself.
LEFT_FOR_LATER = re.compile(
    r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")) + r")\b"
)

TREE_LINE = re.compile(r"^(?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+) ")


def test_files_are_small() -> None:
    too_long = {
        str(path.relative_to(REPO_ROOT)): lines
        for path in python_files()
        if (lines := line_count(path)) > FILE_CEILING
    }

    assert too_long == {}


def test_median_file_is_small() -> None:
    assert statistics.median(map(line_count, SOURCE_ROOT.rglob("*.py"))) <= FILE_MEDIAN


def test_functions_are_small() -> None:
    too_long = {
        f"{module.name}.{function.name}": lines
        for module in all_modules()
        for function in module.functions()
        if (lines := code_lines(function)) > FUNCTION_CEILING
    }

    assert too_long == {}


def test_median_function_is_small() -> None:
    sizes = [code_lines(function) for module in all_modules() for function in module.functions()]

    assert statistics.median(sizes) <= FUNCTION_MEDIAN


def test_nothing_is_left_for_later() -> None:
    marks = [
        f"{path.relative_to(REPO_ROOT)}:{number}: {line.strip()}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if LEFT_FOR_LATER.search(line)
    ]

    assert marks == []


def test_error_tree_is_drawn_as_it_is() -> None:
    assert drawn_tree(errors.__doc__ or "") == real_tree(errors.TransportError)


def test_a_wrongly_drawn_tree_is_noticed() -> None:
    drawing = "    Base   b\n    ├── Left   l\n    │   └── Leaf   x\n    └── Right  r\n"

    assert drawn_tree(drawing) == {"Base": None, "Left": "Base", "Leaf": "Left", "Right": "Base"}


def drawn_tree(text: str) -> dict[str, str | None]:
    """Name of each class to the name it hangs from."""
    tree: dict[str, str | None] = {}
    path: list[str] = []
    for line in text.splitlines():
        if (found := TREE_LINE.match(line)) and found["branch"].startswith("    "):
            depth = len(found["branch"]) // 4 - 1
            path[depth:] = [found["name"]]
            tree[found["name"]] = path[depth - 1] if depth else None
    return tree


def real_tree(root: type[BaseException]) -> dict[str, str | None]:
    tree: dict[str, str | None] = {root.__name__: None}
    waiting = [root]
    while waiting:
        parent = waiting.pop()
        for child in parent.__subclasses__():
            if child.__module__ == root.__module__:
                tree[child.__name__] = parent.__name__
                waiting.append(child)
    return tree


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from its `def`, docstring left out."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def line_count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def python_files() -> Iterator[Path]:
    for folder in ("src", "tests", "benchmarks"):
        yield from (REPO_ROOT / folder).rglob("*.py")


def text_files() -> Iterator[Path]:
    yield from python_files()
    yield from REPO_ROOT.glob("*.md")
    yield from (REPO_ROOT / "docs").rglob("*.md")
    yield from (REPO_ROOT / ".ci").glob("*")
    yield REPO_ROOT / "pyproject.toml"
