from __future__ import annotations

import importlib
import inspect
import pkgutil
import tomllib
from pathlib import Path

import pytest

import sanic_ws
from sanic_ws import errors
from sanic_ws.app import Gateway

PUBLIC = [
    "Conn",
    "Delivery",
    "Everyone",
    "Group",
    "InvalidField",
    "Outcome",
    "Publisher",
    "PushRequest",
    "Receipt",
    "Route",
    "SanicWsError",
    "SyncPublisher",
    "User",
]
PACKAGE = Path(sanic_ws.__file__).parent
MODULES = [module.name for module in pkgutil.walk_packages([str(PACKAGE)], "sanic_ws.")]


def public_names(module) -> set[str]:
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }


def test_public_names_are_these():
    assert sorted(sanic_ws.__all__) == sorted(PUBLIC)


def test_all_is_complete():
    assert public_names(sanic_ws) - {"annotations"} == set(sanic_ws.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_a_docstring(name):
    assert inspect.getdoc(getattr(sanic_ws, name))


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__main__")])
def test_module_has_a_docstring_and_its_all_is_true(module):
    loaded = importlib.import_module(module)
    assert loaded.__doc__
    for name in getattr(loaded, "__all__", []):
        assert hasattr(loaded, name)


def test_every_error_is_exported_and_in_the_tree():
    classes = {n for n, c in vars(errors).items() if inspect.isclass(c) and c.__module__ == errors.__name__}
    assert classes == set(errors.__all__)
    for name in classes:
        assert name in errors.__doc__
        assert issubclass(getattr(errors, name), sanic_ws.SanicWsError)


def test_package_is_typed():
    assert (PACKAGE / "py.typed").exists()


def test_version_is_the_packages():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["version"]["path"] == "sanic_ws/__init__.py"
    assert sanic_ws.__version__.count(".") == 2


def test_contracts_example_imports():
    from sanic_ws import Conn, Everyone, Group, Publisher, User

    assert all((Conn, Everyone, Group, Publisher, User))


def test_whoever_pushes_takes_the_same_arguments():
    publisher, sync, gateway = (
        inspect.signature(each.push) for each in (sanic_ws.Publisher, sanic_ws.SyncPublisher, Gateway)
    )
    assert publisher == gateway == sync
