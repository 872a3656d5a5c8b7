"""Redis in its other forms, for all tests of the contract that do not break it."""

from collections.abc import Iterator

import pytest

from tests.redis_servers import RedisCluster, SentinelSetup
from tests.servers import require


@pytest.fixture(scope="session")
def redis_sentinel() -> Iterator[SentinelSetup]:
    require("redis-server")
    with SentinelSetup(down_after_ms=30_000) as setup:
        yield setup


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    require("redis-server")
    with RedisCluster(node_timeout_ms=30_000) as setup:
        yield setup
