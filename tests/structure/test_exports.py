"""What users import is what `trilane.__all__` says, sorted and complete."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import pytest

import trilane
from trilane.transport import errors

CONTRACT = {
    "AsyncClient",
    "Client",
    "Part",
    "Profile",
    "TransportError",
    "upload",
    "uploadFile",
}


def test_all_is_sorted_and_names_nothing_twice() -> None:
    assert list(trilane.__all__) == sorted(set(trilane.__all__))


def test_all_is_complete() -> None:
    public = {
        name
        for name, value in vars(trilane).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }

    assert public == set(trilane.__all__) - {"__version__"}


def test_names_of_the_contract_are_there() -> None:
    assert set(trilane.__all__) >= CONTRACT


def test_every_error_is_exported() -> None:
    tree = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.TransportError)
    }

    assert set(trilane.__all__) >= tree


def test_what_public_values_are_made_of_is_exported() -> None:
    """A `Preference` names its protocol by an `HttpVersion`."""
    preference = trilane.Preference(exactly=trilane.HttpVersion.HTTP3)

    assert preference == trilane.Preference(exactly=trilane.HttpVersion("h3"))


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_public_things_are_documented(name: str) -> None:
    assert inspect.getdoc(getattr(trilane, name))


def test_version_is_the_distributions() -> None:
    assert trilane.__version__ == version("trilane")
