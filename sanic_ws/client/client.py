"""The client that an application holds."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Self

from sanic_ws.client.address import Address
from sanic_ws.client.events import State
from sanic_ws.client.lifecycle import Lifecycle
from sanic_ws.client.options import MAX_MESSAGE_BYTES, SIGN_BYTES, Options
from sanic_ws.core import json
from sanic_ws.core.identity import check_group
from sanic_ws.core.messages import check_push_type
from sanic_ws.errors import ClientAway, ClientError, InvalidField

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from types import TracebackType

    from sanic_ws.client.events import Event
    from sanic_ws.client.messages import Message
    from sanic_ws.client.options import TokenSource
    from sanic_ws.core.identity import User


class Client:
    """Listen to a gateway and talk to it; made by `connect`.

    An asynchronous context manager, and an asynchronous iterator of messages: it ends once the client is
    closed by its owner, and raises `ClientError` once the node has closed it for good.
    """

    def __init__(self, addresses: Sequence[Address], options: Options) -> None:
        self._addresses = addresses
        self._options = options
        self._life: Lifecycle | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ClientAway: nobody has answered within `open_timeout_s`.
            ClientClosed: the node does not take this client.
            ClientRefused: the node does not take the user.
        """
        if self._life is not None:
            raise ClientError("a client is entered once")
        self._life = Lifecycle(self, self._addresses, self._options)
        self._task = asyncio.create_task(self._life.run(), name="sanic_ws.client")
        try:
            await self._life.settled.wait()
        except BaseException:
            await self.close()
            raise
        if self._life.error is not None:
            raise self._life.error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[Any, Any, Message]:
        return self._entered.conversation.inbox.get()

    @property
    def state(self) -> State:
        """What the client is doing."""
        return State.CLOSED if self._life is None else self._life.state

    @property
    def conn(self) -> str:
        """The connection's id, the same on every connection."""
        return self._options.sign

    @property
    def node(self) -> str | None:
        """The id of the node that it is connected to, or was last."""
        return None if self._life is None else self._life.conversation.node

    @property
    def user(self) -> User | None:
        """Whom the node has bound the connection to, if anybody."""
        return None if self._life is None else self._life.conversation.user

    @property
    def last_id(self) -> str | None:
        """The id of the last durable message that has come; give it as `since` after a restart."""
        return self._options.since or None if self._life is None else self._life.conversation.follower.last_id

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that it joins on each connection."""
        return self._options.groups if self._life is None else tuple(self._life.groups)

    async def send(self, type: str, data: Any = None) -> None:  # noqa: A002 - the contract's name
        """Send a message; return once it was handed to an open connection.

        While there is none it waits for the next one. What was handed over as a connection broke may be
        lost: where that matters, have the other side answer.

        Raises:
            InvalidField: the type is none.
            InvalidJSON: the data have no exact JSON form.
            ClientOverloaded: too many messages wait already.
            ClientError: the client is closed, and it was not sent.
        """
        check_push_type(type)
        content = json.dumps({"type": type, "data": data})
        life = self._entered
        if life.error is not None:
            raise life.error
        link = life.link
        if link is None:
            await life.outbox.wait(content)
        else:
            link.write(content)
            await link.drain()

    async def join(self, group: str) -> None:
        """Join a group, now and on each connection from now on.

        Raises:
            InvalidField: the group is none.
            ClientRefused: the node does not let it; it is not joined.
            ClientAway: the connection ended before the answer; it is joined on the next one.
            ClientError: the client is closed.
        """
        check_group(group)
        life = self._entered
        life.groups[group] = None
        try:
            await self._change(life, "join", group)
        except ClientAway:
            raise
        except ClientError:
            life.groups.pop(group, None)
            raise

    async def leave(self, group: str) -> None:
        """Leave a group; on the next connection it is in none that it has left.

        Raises:
            InvalidField: the group is none.
            ClientRefused: the node does not let it.
            ClientAway: the connection ended before the answer.
            ClientError: the client is closed.
        """
        check_group(group)
        life = self._entered
        life.groups.pop(group, None)
        await self._change(life, "leave", group)

    async def authenticate(self, token: str | None = None) -> None:
        """Give the node a fresh token, so that the session goes on when the one before it ends.

        Args:
            token: the token; None: what `connect` was given says it.

        Raises:
            ClientRefused: the node does not take it.
            ClientAway: there is no connection now, or it ended before the answer; the next one begins with
                a token of its own.
            ClientError: the client is closed.
        """
        life = self._entered
        if token is None:
            token = await self._options.read_token()
        await self._ask(life, "auth", {"token": token})

    async def close(self) -> None:
        """Leave; whoever waits for anything is told."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def _entered(self) -> Lifecycle:
        if self._life is None:
            raise ClientError("use it in `async with`")
        return self._life

    async def _change(self, life: Lifecycle, kind: str, group: str) -> None:
        if life.link is not None or life.error is not None:
            await self._ask(life, kind, {"group": group})

    async def _ask(self, life: Lifecycle, kind: str, data: Any) -> Any:
        if life.error is not None:
            raise life.error
        link = life.link
        if link is None:
            raise ClientAway("there is no connection now")
        return await life.conversation.ask(link, kind, data, self._options.connect_timeout_s)


def connect(
    url: str | Sequence[str],
    *,
    token: TokenSource | None = None,
    sign: str | None = None,
    since: str | None = None,
    user: User | None = None,
    groups: Iterable[str] = (),
    queue_size: int = 100,
    inbox_size: int = 100,
    reconnect: bool = True,
    everything: bool = False,
    on_event: Callable[[Event], None] | None = None,
    connect_timeout_s: float = 10.0,
    open_timeout_s: float = 10.0,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    tls: ssl.SSLContext | None = None,
) -> Client:
    """Return a client of a gateway, to be entered with `async with`.

    Args:
        url: of a load balancer or a node, such as ``wss://push.example.com/ws``; several are taken in turn.
        token: says who the client is; a function, synchronous or not, is asked before every connection.
        sign: the connection's id; one that nobody can guess is made if it is left out.
        since: the id of the last durable message that it has; empty: it wants all there is; None: what comes
            from now on.
        user: who it is, where the node trusts clients.
        groups: those to join on each connection.
        queue_size: how many messages may wait for a connection.
        inbox_size: how many messages may wait to be read; beyond that nothing is read from the socket, and a
            client that reads nothing for long is closed by the node and comes back.
        reconnect: whether to come back when a connection has ended.
        everything: whether to hand out the gateway's own messages too: `connected`, `resumed`, `error` ….
        on_event: called with each event of the client's own, in order; it may not block.
        connect_timeout_s: how long an attempt, or an answer of the node, may take, seconds.
        open_timeout_s: for how long the first connection is tried, seconds; 0: once.
        max_message_bytes: of a frame; a longer one ends the connection.
        tls: for ``wss://``, where the system's certificates will not do.

    Raises:
        InvalidField: an argument is not what it may be.
    """
    options = Options(
        token=token,
        sign=secrets.token_urlsafe(SIGN_BYTES) if sign is None else sign,
        since=since,
        user=user,
        groups=tuple(groups),
        queue_size=queue_size,
        inbox_size=inbox_size,
        reconnect=reconnect,
        everything=everything,
        on_event=on_event,
        connect_timeout_s=connect_timeout_s,
        open_timeout_s=open_timeout_s,
        max_message_bytes=max_message_bytes,
        tls=tls,
    )
    addresses = [Address(each) for each in ([url] if isinstance(url, str) else url)]
    if not addresses:
        raise InvalidField("url", "must be one at least")
    return Client(addresses, options)
