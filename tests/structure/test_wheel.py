"""The wheel holds the package under its one name, typed, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.structure.modules import REPO_ROOT, SOURCE_ROOT

pytest.importorskip("pip", reason="builds a wheel with pip")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no build folder is left in the work tree."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPO_ROOT / name, source)
    shutil.copytree(SOURCE_ROOT, source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(source)], check=True, timeout=100)
    [built] = folder.glob("*.whl")
    return built


def test_wheel_has_one_top_level_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}

    version = wheel.name.split("-")[1]
    assert top == {"trilane", f"trilane-{version}.dist-info"}
    assert wheel.name.endswith("-py3-none-any.whl")


def test_wheel_has_every_module_and_the_type_marker(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packaged = {name for name in archive.namelist() if name.startswith("trilane/")}

    modules = {f"trilane/{path.relative_to(SOURCE_ROOT)}" for path in SOURCE_ROOT.rglob("*.py")}
    assert packaged == modules | {"trilane/py.typed"}


def test_wheel_installs_the_command_and_the_license(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = {
            name.rpartition("/")[2]: archive.read(name).decode()
            for name in archive.namelist()
            if ".dist-info/" in name
        }

    assert "trilane = trilane.api.cli.main:main" in texts["entry_points.txt"]
    assert "MIT License" in texts["LICENSE"]
