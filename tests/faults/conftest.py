"""What the fault tests share, and the figures that they print at the end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.faults.clients import Fleet
from tests.faults.cluster import FaultCluster
from tests.servers import RabbitServer, RedisServer

ROW = "row "

StartCluster = Callable[..., Awaitable[FaultCluster]]
MakeFleet = Callable[..., Fleet]
Figure = Callable[..., None]


def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Mark what is here, so that it can run in a stage of its own; let random faults take their time.

    What keeps no core busy is marked `beside`, and runs beside all other tests.
    """
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("beside") is None:
            item.add_marker(pytest.mark.faults)
        if item.path.name == "test_random.py":
            item.add_marker(pytest.mark.timeout(config.getoption("--faults-seconds") + 240))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures of all rows."""
    reports = [report for some in terminalreporter.stats.values() for report in some]
    called = [report for report in reports if getattr(report, "when", "") == "call"]
    noted = [(name, text) for report in called for name, text in report.user_properties]
    figures = [(name.removeprefix(ROW), text) for name, text in noted if name.startswith(ROW)]
    if figures:
        terminalreporter.section("figures", sep="=")
    for row, text in sorted(figures, key=lambda figure: (len(figure[0]), figure[0])):
        terminalreporter.write_line(f"{ROW}{row:>2}  {text}")


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Say nothing of lost connections: a failure would drown in them."""
    for name in ("aiormq", "aio_pika", "sanic_ws", "picows"):
        caplog.set_level(logging.CRITICAL, name)


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Note a row's figure for the summary; `holds=False` fails the test."""

    def note(row: int | str, text: str, holds: bool = True) -> None:
        record_property(f"{ROW}{row}", text if holds else f"{text}  DOES NOT HOLD")
        assert holds, f"row {row}: {text}"

    return note


@pytest.fixture
async def start_cluster(own_redis: RedisServer, own_rabbit: RabbitServer) -> AsyncIterator[StartCluster]:
    """Start nodes on a Redis of the test's own and a RabbitMQ that the tests may break."""
    async with AsyncExitStack() as stack:

        async def start(count: int, **options: object) -> FaultCluster:
            return await stack.enter_async_context(FaultCluster(own_redis, own_rabbit, count, **options))

        yield start


@pytest.fixture
async def make_fleet() -> AsyncIterator[MakeFleet]:
    """Make fleets of clients; they leave at the end."""
    fleets: list[Fleet] = []

    def make(addresses: Sequence[str], **options: object) -> Fleet:
        fleets.append(Fleet(addresses, **options))
        return fleets[-1]

    yield make
    await asyncio.gather(*(fleet.close() for fleet in fleets))
