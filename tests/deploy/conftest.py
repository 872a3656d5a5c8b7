"""What the tests of the chart share."""

from pathlib import Path

import pytest

from tests.deploy.chart import CI_FILES, VERSIONS, Object, render


@pytest.fixture(scope="session", params=[None, *CI_FILES], ids=lambda file: file.stem if file else "default")
def values(request: pytest.FixtureRequest) -> list[str | Path]:
    """The options for helm that name a file of values, or none."""
    return ["--values", request.param] if request.param else []


@pytest.fixture(scope="session", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """A version of Kubernetes."""
    return request.param


@pytest.fixture(scope="session")
def objects(values: list[str | Path]) -> list[Object]:
    """What helm would install."""
    return render(*values)
