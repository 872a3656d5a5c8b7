"""Connections to Redis: what redis-py's do, and what a registry has to know of them besides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Broken
from redis.exceptions import ReadOnlyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio.connection import RedisSSLContext

    from sanic_ws.core.redis_url import Address

    Find = Callable[[], Awaitable[Address]]
    """Find where to connect to; raises redis-py's `ConnectionError`."""


class Connection(aioredis.Connection):
    """Remember how often it was opened, and what the server at the other end has been given since."""

    find: Find | None = None
    opened = 0
    scripts: frozenset[str] = frozenset()

    async def _connect(self) -> None:
        if self.find is not None:
            self.host, self.port = await self.find()
        await super()._connect()  # type: ignore[no-untyped-call]
        self.opened += 1
        self.scripts = frozenset()

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read an answer; a master that has become a replica is as good as gone.

        Raises:
            ConnectionError: redis-py's; the connection broke, or leads to a replica.
        """
        try:
            return await super().read_response(*args, **kwargs)
        except ReadOnlyError as exc:
            await self.disconnect(nowait=True)
            raise Broken("the server is not a master any more") from exc


class SSLConnection(Connection, aioredis.SSLConnection):
    """The same over TLS."""


class Connector:
    """Make connections.

    Args:
        options: redis-py's arguments for a connection.
        tls: whether it is one over TLS. All share what they trust: to read it takes 20 ms.
    """

    def __init__(self, options: dict[str, Any], *, tls: bool) -> None:
        self._options = options
        self._tls = tls
        self._trust: RedisSSLContext | None = None

    def make(self, **where: Any) -> Connection:
        """Return a connection that is not open yet."""
        options = {
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "driver_info": None,
            **self._options,
            **where,
        }
        if not self._tls:
            return Connection(**options)
        connection = SSLConnection(**options)
        self._trust = connection.ssl_context = self._trust or connection.ssl_context
        return connection
