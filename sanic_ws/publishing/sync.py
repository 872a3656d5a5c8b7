"""The publisher for code without an event loop."""

from __future__ import annotations

import asyncio
import threading
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from sanic_ws.publishing.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[Publisher, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncPublisher, P], T]:
    """Return a publisher's method as one that waits for its end."""

    def call(self: SyncPublisher, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(method(self._publisher, *args, **kwargs))

    update_wrapper(call, method)
    return call


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

    push = _blocking(Publisher.push)
    push_many = _blocking(Publisher.push_many)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            coroutine.close()
            raise RuntimeError("use the publisher as a context manager: with SyncPublisher(...) as publisher")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
