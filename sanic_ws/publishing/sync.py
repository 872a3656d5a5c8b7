"""The publisher for code without an event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self

from sanic_ws.core.requests import (
    DEFAULT_TIMEOUT_S,
    Excluded,
    Offline,
    Overflow,
    PushRequest,
    Target,
    Wait,
    WaitFor,
)
from sanic_ws.publishing.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Sequence
    from typing import TypeVar

    from sanic_ws.core.outcomes import Receipt

    T = TypeVar("T")


class SyncPublisher:
    """Push from code without an event loop; the same as `Publisher`, which runs in a thread of its own.

    Use it as a context manager, one for a process; it may be used from any number of threads. Start it
    after a fork, not before.

    Args:
        redis_url: see `Publisher`.
        amqp_url: see `Publisher`.
        prefix: see `Publisher`.
    """

    def __init__(
        self, redis_url: str | None = None, amqp_url: str | None = None, prefix: str | None = None
    ) -> None:
        self._publisher = Publisher(redis_url, amqp_url, prefix)
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sanic_ws", daemon=True)
        self._thread.start()
        self._run(self._publisher.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is None:
            return
        self._run(self._publisher.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = None

    def push(
        self,
        to: Target | Sequence[Target],
        type: str | None = None,  # noqa: A002 - the contract's name
        data: Any = None,
        *,
        raw: str | bytes | None = None,
        id: str | None = None,  # noqa: A002
        wait: Wait = "written",
        wait_for: WaitFor = "all",
        timeout_s: float = DEFAULT_TIMEOUT_S,
        exclude: Collection[Excluded] = (),
        ttl_s: float | None = None,
        overflow: Overflow = "drop",
        coalesce_key: str | None = None,
        offline: Offline = "fail",
    ) -> Receipt:
        """Push one message; see `Publisher.push`."""
        options = (wait, timeout_s, exclude, wait_for, ttl_s, overflow, coalesce_key, offline)
        request = PushRequest(to, type, data, raw, id, *options)
        (receipt,) = self.push_many([request])
        return receipt

    def push_many(self, requests: Sequence[PushRequest]) -> list[Receipt]:
        """Push many messages with one call; see `Publisher.push_many`."""
        return self._run(self._publisher.push_many(requests))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            coroutine.close()
            raise RuntimeError("use the publisher as a context manager: with SyncPublisher(...) as publisher")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
