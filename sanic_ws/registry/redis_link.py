"""A link to one Redis server: its connections, how long it is waited for, and when it is left alone.

* A call is bounded as a whole: waiting for a connection, opening it, sending, reading. A time-out is not
  retried. Where the connection breaks the call is made once more at once, on a new one; all that is sent here
  may be done twice, but for scripts that say otherwise.
* A call that is cancelled closes its connection, so that nobody reads its answer for their own.
* A server that does not answer, or cannot be connected to, is left alone for a moment (`Breaker`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import hiredis
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as Broken
from redis.exceptions import TimeoutError as NoAnswer

from sanic_ws.errors import RegistryAway, RegistryUnavailable
from sanic_ws.registry.breaker import Breaker
from sanic_ws.registry.patience import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from sanic_ws.core.redis_url import Address
    from sanic_ws.registry.redis_connection import Connection, Connector
    from sanic_ws.registry.scripts import Script

    Command = tuple[Any, ...]

COMMAND_TIMEOUT_S = 0.3
"""How long a push waits for Redis."""
_NOTHING_DONE = (ClusterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError)
"""Said by a server before it writes anything, by a script's first writing command too."""


class _CannotConnect(Broken):
    asked = False
    """Whether the server may have been asked before."""


class Link:
    """Talk to one server.

    Args:
        name: the server, for the log and for errors.
        make: makes a connection.
        is_current: whether a connection leads to where it should; without it every one does.
        most: connections at a time.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Connection],
        *,
        is_current: Callable[[Connection], bool] | None = None,
        most: int,
    ) -> None:
        self.breaker = Breaker(name)
        self._name = name
        self._make = make
        self._is_current = is_current
        self._most = most
        self._slots = asyncio.Semaphore(most)
        self._idle: list[Connection] = []
        self._pulse: Connection | None = None
        self._pulse_lock = asyncio.Lock()
        self._closed = False

    @classmethod
    def to(cls, kind: str, address: Address, connector: Connector, most: int) -> Link:
        """Return a link to the server at an address."""
        host, port = address
        return cls(f"{kind} {host}:{port}", lambda: connector.make(host=host, port=port), most=most)

    async def exchange(
        self,
        commands: Sequence[Command],
        timeout_s: float,
        script: Script | None = None,
        *,
        insist: bool = False,
    ) -> list[Any]:
        """Send commands together and return an answer for each, which may be a `ResponseError`.

        Args:
            commands: at least one.
            timeout_s: for all together.
            script: what the commands call by its digest; the server is given it before.
            insist: try a server that is away before its time.

        Raises:
            RegistryAway: the server was not asked: it cannot be reached.
            RegistryUnavailable: it does not answer in time.
        """
        began = self.breaker.admit(insist=insist)
        waits = True
        try:
            async with within(timeout_s), self._slots:
                waits = False
                self.breaker.check(began)
                answers = await self._borrow(commands, script)
        except (TimeoutError, NoAnswer) as exc:
            if waits:
                raise RegistryAway(f"{self._name}: all {self._most} connections are busy") from exc
            await self._close_idle()
            raise self._failed(f"no answer within {timeout_s:g} s", began) from exc
        except _CannotConnect as exc:
            failed = self._failed(_text(exc), began)
            raise failed if exc.asked else RegistryAway(str(failed)) from exc
        except BusyLoadingError as exc:
            raise self._failed(_text(exc), began) from exc
        except (RedisError, OSError) as exc:
            raise RegistryUnavailable(f"{self._name}: {_text(exc)}") from exc
        self.breaker.succeeded()
        return answers

    async def scan(self, pattern: str, count: int, timeout_s: float) -> AsyncIterator[list[bytes]]:
        """Iterate over the server's keys that match, in steps of about ``count`` keys looked at."""
        cursor = b"0"
        while True:
            command = ("SCAN", cursor, "MATCH", pattern, "COUNT", count)
            answers = await self.exchange([command], timeout_s)
            check_answers(answers)
            cursor, keys = answers[0]
            yield keys
            if cursor == b"0":
                return

    async def pulse(self) -> bool:
        """Return whether the server has been up without a break since the last call of this.

        It has if the connection that only this uses is still the one of the last call, as a server that
        restarts closes it, and if it is a master.
        """
        async with self._pulse_lock:
            if self._pulse is None:
                self._pulse = self._make()
            connection, opened = self._pulse, self._pulse.opened
            try:
                async with within(COMMAND_TIMEOUT_S):
                    (role,) = await self._talk(connection, [("ROLE",)], None)
            except (TimeoutError, RedisError, OSError):
                await connection.disconnect(nowait=True)
                return False
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            demoted = isinstance(role, list) and role[0] != b"master"
            return 0 < opened == connection.opened and not demoted

    async def close(self) -> None:
        """Close the connections; those in use, when they are not any more."""
        self._closed = True
        closing = [*self._idle, *([self._pulse] if self._pulse is not None else [])]
        await asyncio.gather(*(connection.disconnect() for connection in closing), return_exceptions=True)

    async def _borrow(self, commands: Sequence[Command], script: Script | None) -> list[Any]:
        connection = self._idle.pop() if self._idle else self._make()
        try:
            answers = await self._talk(connection, commands, script)
            missing = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if missing:
                connection.scripts = frozenset()
                again = await self._talk(connection, [commands[at] for at in missing], script, asked=True)
                for at, answer in zip(missing, again, strict=True):
                    answers[at] = answer
        except BaseException:
            # The answer may still be on its way.
            await connection.disconnect(nowait=True)
            raise
        finally:
            self._idle.append(connection)
            if self._closed:
                await connection.disconnect(nowait=True)
        return answers

    async def _talk(
        self,
        connection: Connection,
        commands: Sequence[Command],
        script: Script | None,
        *,
        asked: bool = False,
    ) -> list[Any]:
        try:
            await self._open(connection)
            asked = True
            return await _send(connection, commands, script)
        except Broken:
            if asked and script is not None and not script.repeatable:
                raise
            try:
                await self._open(connection)
            except _CannotConnect as exc:
                exc.asked = asked
                raise
            return await _send(connection, commands, script)

    async def _open(self, connection: Connection) -> None:
        """Connect, unless it is connected and nothing is wrong with it."""
        if connection.is_connected and (
            (self._is_current is not None and not self._is_current(connection)) or await connection.can_read()
        ):
            await connection.disconnect(nowait=True)
        if not connection.is_connected:
            try:
                await connection.connect()  # type: ignore[no-untyped-call]
            except NoAnswer:
                raise
            except (RedisError, OSError) as exc:
                raise _CannotConnect(_text(exc)) from exc

    def _failed(self, reason: str, began: float) -> RegistryUnavailable:
        self.breaker.failed(reason, began)
        return RegistryUnavailable(f"{self._name}: {reason}")

    async def _close_idle(self) -> None:
        """Start over: where one connection is dead the others may be, without a sign of it."""
        for connection in self._idle:
            await connection.disconnect(nowait=True)


async def _send(connection: Connection, commands: Sequence[Command], script: Script | None) -> list[Any]:
    load = script is not None and script.digest not in connection.scripts
    if script is not None and load:
        commands = [("SCRIPT", "LOAD", script.text), *commands]
    packed = b"".join(map(hiredis.pack_command, commands))
    try:
        await connection.send_packed_command([packed])
    except RuntimeError as exc:
        # What uvloop raises where the socket was closed a moment ago.
        raise Broken(_text(exc)) from exc
    answers = [await _answer(connection) for _ in commands]
    if script is not None and load:
        loaded = answers.pop(0)
        if isinstance(loaded, ResponseError):
            raise loaded
        connection.scripts |= {script.digest}
    return answers


async def _answer(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as exc:
        return exc


def check_answers(answers: Iterable[Any]) -> None:
    """Raise what a server answered in place of a value.

    Raises:
        RegistryUnavailable: one of the answers is an error, or stands for one that did not come.
    """
    for answer in answers:
        if isinstance(answer, (ResponseError, RegistryUnavailable)):
            raise _as_failure(answer)


async def answer_each(answers: Awaitable[list[Any]], number: int) -> list[Any]:
    """Return what some calls were answered; one that failed is answered by a `RegistryUnavailable`.

    Args:
        answers: what makes the calls.
        number: of the calls.
    """
    try:
        return list(map(_as_failure, await answers))
    except RegistryUnavailable as exc:
        return [exc] * number


def _as_failure(answer: Any) -> Any:
    """Return an answer; an error of the server's as one of ours."""
    if not isinstance(answer, ResponseError):
        return answer
    kind = RegistryAway if isinstance(answer, _NOTHING_DONE) else RegistryUnavailable
    failure = kind(f"Redis: {_text(answer)}")
    failure.__cause__ = answer
    return failure


def _text(exc: BaseException) -> str:
    return str(exc) or type(exc).__name__
