"""What a node has written that clients are to answer, or that may come once more.

Two maps, both bounded: what each session is asked, until it has answered or the time is over, and what was
written under an id that its publisher gave, by target and id, for 60 s. A copy of a push gets the answer of
the first one, whatever way it comes and whatever session has the connection's id by then; only the session
that got the push can answer it.

A push that waits for a slow client counts as written, until it is known that it is not; whoever sent it is
told either way.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from sanic_ws.core.outcomes import Answer
from sanic_ws.core.reports import Report, Said
from sanic_ws.core.waiting import Late
from sanic_ws.core.written import Ask, Written

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Collection

    from sanic_ws.core.hub import Hub, Socket
    from sanic_ws.core.identity import User
    from sanic_ws.core.mail import Posted
    from sanic_ws.core.orders import Order

    Post = Callable[[Socket, str, Posted, bytes, Callable[[bool], None]], Answer]

COPIES_S = 60.0
"""How long copies of a push are known."""
MOST_COPIES = 100_000
"""Pushes that are known; past it the oldest is forgotten before its time."""
MOST_REPLY_BYTES = 16 << 20
"""Of replies that are kept for copies; past it a copy learns that the client has answered, and not what."""
MOST_ASKED, MOST_ASKED_OF_ONE = 100_000, 1000
"""Open questions, in all and to one session; past it a push is `overloaded`."""
MOST_ASKING = 16
"""Copies of one push that wait for its client; any more end as `delivered`."""
SWEEP_S = 1.0
_TAKEN = (Answer.DELIVERED, Answer.WAITING)


class Acks:
    """Carry out orders on a node's connections; see the module's text.

    Args:
        hub: the connections.
        report: is told what clients say, and to whom it has to be told.
        clock: seconds that never go back.
        post: brings what is stored to its clients; see `sanic_ws.node.mail.Mail.deliver`.
    """

    def __init__(
        self,
        hub: Hub,
        report: Callable[[str | None, Report], None],
        clock: Callable[[], float] = monotonic,
        post: Post | None = None,
    ) -> None:
        self._hub = hub
        self._post = post
        self._report = report
        self._clock = clock
        self._asked: dict[Socket, dict[str, Written]] = {}
        self._open = 0
        self._sweep_at = 0.0
        self._copies: dict[tuple[str, str], Written] = {}
        self._reply_bytes = 0

    # Pushes

    def deliver(
        self, order: Order, conn: str, frame: bytes, user_key: str | None = None, address: str | None = None
    ) -> Answer:
        """Write a frame to one connection, once, and ask its client; see `Hub.deliver`."""
        if order.cancels:
            return self._cancel(order, conn, frame)
        written = self._copy(order, conn)
        if written is None:
            socket = self._hub.get(conn)
            if order.asks and socket is not None and not self._has_room(socket):
                return Answer.OVERLOADED
            written = Written("" if socket is None else socket.session)
            answer = self._write(order, conn, frame, user_key, socket, written)
            if answer not in _TAKEN:
                return answer
            self._remember(order, conn, written)
        if order.asks:
            self._ask(order, conn, written, address)
        if written.followers is None:
            return Answer.DELIVERED
        if order.ticket and len(written.followers) < MOST_ASKING:
            written.followers.append(Ask(address, order.ticket, reply=False))
        return Answer.WAITING

    def _write(
        self,
        order: Order,
        conn: str,
        frame: bytes,
        user_key: str | None,
        socket: Socket | None,
        written: Written,
    ) -> Answer:
        """Write a frame, or have it wait."""
        if not order.may_wait or socket is None:
            return self._hub.deliver(conn, frame, user_key)

        def ended(sent: bool) -> None:
            self._ended(order, socket, written, sent=sent)

        if order.posted is None:
            answer = self._hub.offer(conn, frame, Late(order.key, order.expires, ended), user_key)
        else:
            refusal = self._hub.refusal(socket, user_key)
            answer = refusal or self._post_to(socket, order.push_id, order.posted, frame, ended)
        if answer is Answer.WAITING:
            written.followers = []
        return answer

    def _post_to(
        self, socket: Socket, push_id: str, posted: Posted, frame: bytes, ended: Callable[[bool], None]
    ) -> Answer:
        if self._post is None:
            return Answer.OVERLOADED
        return self._post(socket, push_id, posted, frame, ended)

    def is_over(self, order: Order) -> bool:
        """Say whether a push is too late to be written."""
        return order.expires <= self._clock()

    def deliver_to_user(
        self, order: Order, user: User, frame: bytes, exclude: Collection[str], address: str | None = None
    ) -> list[tuple[str, Answer]]:
        """Write a frame to the user's connections, as `deliver` does."""
        return [
            (socket.conn, self.deliver(order, socket.conn, frame, None, address))
            for socket in self._hub.of_user_but(user, exclude)
        ]

    def deliver_to_many(
        self, order: Order, target: str, deliver: Callable[[Late | None], Counter[Answer]]
    ) -> Counter[Answer]:
        """Carry a push to everyone, or to a group, out once.

        Args:
            order: the push's.
            target: what no connection's id is.
            deliver: writes the frame, or has it wait as is said; returns how many had which answer.
        """
        written = self._copy(order, target)
        if written is not None and written.counts is not None:
            return written.counts
        counts = deliver(Late(order.key, order.expires, _tell_nobody) if order.may_wait else None)
        if counts[Answer.DELIVERED] or counts[Answer.WAITING]:
            written = Written("")
            written.counts = counts
            self._remember(order, target, written)
        return counts

    def _ended(self, order: Order, socket: Socket, written: Written, *, sent: bool) -> None:
        """Tell what has become of a push that waited; one that was not sent may come once more."""
        followers, written.followers = written.followers or (), None
        if not sent:
            if self._copies.get((socket.conn, order.push_id)) is written:
                del self._copies[socket.conn, order.push_id]
            if self._asked.get(socket, {}).get(order.push_id) is written:
                self._close(socket, order.push_id).asks.clear()
        for follower in followers:
            self._tell(follower, socket.conn, Said.WRITTEN if sent else Said.DROPPED)
        if sent and self._asked.get(socket, {}).get(order.push_id) is not written:
            self._give_up(written, socket.conn)

    # Clients

    def answered(self, socket: Socket, push_id: str, said: Said, reply: str = "") -> None:
        """Take in what a client says of a push; what it was not asked, or not in time, is ignored.

        Args:
            socket: the client's.
            push_id: the push's id.
            said: `Said.ACK` or `Said.REPLY`.
            reply: what it replies, JSON.
        """
        written = self._asked.get(socket, {}).get(push_id)
        if written is None or said <= written.said or written.over_at <= self._clock():
            return
        if written.followers is not None:
            return  # it answers what it cannot have read
        written.said = said
        asks, written.asks = written.asks, []
        for ask in asks:
            self._tell(ask, socket.conn, said, reply)
            if ask.reply and said is Said.ACK:
                written.asks.append(ask)
        if written.forgotten_at and self._reply_bytes + len(reply) <= MOST_REPLY_BYTES:
            written.reply = reply
            self._reply_bytes += len(reply)
        if not (written.asks or written.first):
            self._close(socket, push_id)

    def left(self, socket: Socket) -> None:
        """Take in that a session has ended: nobody will answer what it was asked."""
        for written in self._asked.pop(socket, {}).values():
            self._open -= 1
            self._give_up(written, socket.conn)

    # Questions

    def _ask(self, order: Order, conn: str, written: Written, address: str | None) -> None:
        ask = Ask(address, order.ticket, order.wait == "reply")
        socket = self._hub.get(conn)
        if written.said:
            self._tell(ask, conn, written.said, written.reply)
        if written.said is Said.REPLY or (written.said is Said.ACK and not ask.reply):
            return
        if socket is None or socket.session != written.session:
            if written.followers is None:
                self._tell(ask, conn, Said.GONE)
        elif len(written.asks) < MOST_ASKING and self._has_room(socket):
            written.asks.append(ask)
            written.first |= order.first
            written.over_at = max(written.over_at, self._clock() + order.timeout_ms / 1000)
            asked = self._asked.setdefault(socket, {})
            self._open += order.push_id not in asked
            asked[order.push_id] = written

    def _cancel(self, order: Order, conn: str, frame: bytes) -> Answer:
        """Tell a client that no answer is wanted any more, if it was asked for one."""
        socket = self._hub.get(conn)
        if socket is None or order.push_id not in self._asked.get(socket, {}):
            return Answer.NOT_MINE
        self._give_up(self._close(socket, order.push_id), conn)
        return self._hub.deliver(conn, frame)

    def _tell(self, ask: Ask, conn: str, said: Said, reply: str = "") -> None:
        self._report(ask.address, Report(ask.ticket, conn, said, reply if ask.reply else ""))

    def _give_up(self, written: Written, conn: str) -> None:
        """Tell that nobody will answer; while the push waits, `_ended` does: it may never be written."""
        if written.followers is not None:
            return
        asks, written.asks = written.asks, []
        for ask in asks:
            self._tell(ask, conn, Said.GONE)

    def _close(self, socket: Socket, push_id: str) -> Written:
        asked = self._asked[socket]
        written = asked.pop(push_id)
        self._open -= 1
        if not asked:
            del self._asked[socket]
        return written

    def _has_room(self, socket: Socket) -> bool:
        """Say whether one more question may be open, after those whose time is over are forgotten."""
        now = self._clock()
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            over = [
                (socket, push_id)
                for socket, asked in self._asked.items()
                for push_id, written in asked.items()
                if written.over_at <= now
            ]
            for asked_one, push_id in over:
                self._close(asked_one, push_id).asks.clear()
        return self._open < MOST_ASKED and len(self._asked.get(socket, ())) < MOST_ASKED_OF_ONE

    # Copies

    def _copy(self, order: Order, target: str) -> Written | None:
        """Return what was written of a push before, if it is one to be delivered once."""
        if not order.once:
            return None
        self._forget()
        return self._copies.get((target, order.push_id))

    def _remember(self, order: Order, target: str, written: Written) -> None:
        if order.once:
            written.forgotten_at = self._clock() + COPIES_S
            self._copies[target, order.push_id] = written

    def _forget(self) -> None:
        """Forget what is old, or too much."""
        now, copies = self._clock(), self._copies
        while copies:
            key = next(iter(copies))
            if copies[key].forgotten_at > now and len(copies) < MOST_COPIES:
                break
            written = copies.pop(key)
            self._reply_bytes -= len(written.reply)
            # A client may answer it yet, and what it says is kept for nobody.
            written.forgotten_at, written.reply = 0.0, ""


def _tell_nobody(_: bool) -> None:
    """Let what becomes of one of many go: they are counted when the push arrives."""
