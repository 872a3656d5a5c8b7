"""A cluster in memory for the router's tests: nodes, registry and broker, moved step by step.

Nothing happens by itself. Each step lets one thing happen: a client connects, a node reads one batch, one
answer arrives, a look-up is read, some time passes. Batches to one node keep their order, because a node has
one queue; everything else may happen in any order.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any

from sanic_ws.core.acks import Acks
from sanic_ws.core.batch import Batch, Reply, close_target
from sanic_ws.core.calls import Cancel
from sanic_ws.core.copies import Remember
from sanic_ws.core.flights import Flight, Forget, Found, Listing, Owner, UserConnection
from sanic_ws.core.groups import NO_GROUPS, Groups
from sanic_ws.core.hub import Hub
from sanic_ws.core.identity import Conn, Everyone, Group, User
from sanic_ws.core.outcomes import Answer, Outcome, Receipt, Route
from sanic_ws.core.push import Push
from sanic_ws.core.reception import carry_out, refuse
from sanic_ws.core.reports import Report, Said
from sanic_ws.core.routing import Router
from sanic_ws.core.seeking import Probe, Seek
from sanic_ws.core.waiting import LATE_BYTES, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sanic_ws.core.orders import Order
    from sanic_ws.core.waiting import Late

HERE = "n0"
ON_THEIR_OWN = "copies could not ask the registry"
NODES = (HERE, "n1", "n2")
USERS = {"c0": User(1, from_type="web"), "c1": User(1, from_type="app"), "c2": User(2), "c3": None}
CONNS = tuple(USERS)
GROUP = "g"
IN_GROUP = {"c0", "c2"}
TIMEOUT_S = 3.0
MOST_ROUNDS = 5000
TEXT_FRAME = b"\x81"


class FakeSocket:
    """A connection whose client remembers what it got."""

    def __init__(self, conn: str, session: str, user: User | None, on_close: Callable[[FakeSocket], None]):
        self.conn = conn
        self.session = session
        self.user = user
        self.groups = Groups(frozenset({GROUP})) if conn in IN_GROUP else NO_GROUPS
        self.marked = False
        self.opened = False
        self.generation = int(session)
        self.full = False
        self.slow = False
        self.waiting = Waiting()
        self.received: list[int] = []
        self.cancelled: list[bytes] = []
        self.said: dict[int, Said] = {}
        self._on_close = on_close

    @property
    def writable(self) -> bool:
        return not self.full

    def write(self, frame: bytes) -> bool:
        """Take frames; several may come at once, and what takes a question back is a text frame."""
        if self.full:
            return False
        if len(self.waiting):
            self.waiting.put(frame)
        else:
            self._take(frame)
        return True

    def _take(self, frame: bytes) -> None:
        pushes, *cancelled = frame.split(TEXT_FRAME)
        self.received += map(int, pushes.split())
        self.cancelled += cancelled

    def offer(self, frame: bytes, late: Late) -> Answer:
        """Take a frame, or have it wait, as the last but one that may be given up."""
        if self.full:
            return Answer.OVERLOADED
        if not self.slow and not len(self.waiting):
            self._take(frame)
            return Answer.DELIVERED
        self.waiting.drop_key(late.key)
        while self.waiting.bytes - self.waiting.plain_bytes > 2 * LATE_BYTES:
            self.waiting.drop_oldest()
        self.waiting.put(frame, late)
        return Answer.WAITING

    def read_on(self, now: float) -> None:
        """Take all that waits."""
        self.slow = False
        while (frame := self.waiting.take(now)) is not None:
            self._take(frame.content)
            if frame.late is not None:
                frame.late.ended(True)

    def leave(self) -> None:
        """Take only what was promised."""
        rest, self.waiting = self.waiting.end(), Waiting()
        for frame in rest:
            self._take(frame)

    def close(self, code: int, reason: str = "") -> None:
        self._on_close(self)


@dataclass
class FakeNode:
    """A node: its hub and its queue.

    `hears` says whether the queue is there, `named` whether it still gets what is for this node alone.

    One that is paused does nothing, while others see it as before. One that leaves takes nobody in; it has
    withdrawn when it has told the registry so.
    """

    id: str
    acks: Acks
    hub: Hub
    queue: deque[Batch] = field(default_factory=deque)
    alive: bool = True
    hears: bool = True
    named: bool = True
    paused: bool = False
    leaving: bool = False
    withdrawn: bool = False

    @property
    def addressable(self) -> bool:
        return self.hears and self.named


@dataclass
class Sent:
    """A push, its receipts, and who holds a connection that it is for, ever since."""

    number: int
    push: Push
    receipts: list[Receipt] = field(default_factory=list)
    holders: set[tuple[str, str]] = field(default_factory=set)
    held_at_receipt: set[tuple[str, str]] = field(default_factory=set)


class Cluster:
    """A router among nodes that are fakes around real hubs.

    Args:
        local: whether the router is part of node ``n0``, and not of a publisher elsewhere.
    """

    def __init__(self, *, local: bool = False) -> None:
        self.now = 100.0
        self.nodes = {name: self._node(name) for name in NODES}
        self.local = local
        here = self.nodes[HERE]
        self.router = Router(HERE, here.hub, acks=here.acks) if local else Router()
        self.owners: dict[str, Owner] = {}
        self.users: dict[str, dict[str, tuple[Owner, str | None]]] = {}
        self.marks: set[str] = set()
        self.receipts: dict[str, bytes] = {}
        self.listed = set(NODES)
        self.lapsed: set[str] = set()
        self.forgotten: set[str] = set()
        self.mending = False
        self.asserting = 0
        self.registry_away = False
        self.broker_away = False
        self.sockets: list[FakeSocket] = []
        self.where: dict[FakeSocket, FakeNode] = {}
        self.sent: list[Sent] = []
        self.copied: dict[int, list[list[Receipt]]] = {}
        self.replies: list[Reply] = []
        self.later: list[Callable[[], None]] = []
        self.look_up: Any = None
        self.seen: Counter[str] = Counter()
        """What has really happened, so that a test can tell that its schedules are about something."""
        self._sessions = count(1)

    def _node(self, name: str) -> FakeNode:
        hub = Hub()
        return FakeNode(name, Acks(hub, lambda _, report: self._report(name, report), lambda: self.now), hub)

    # Publishing

    def push(
        self,
        *targets: Any,
        timeout_s: float = TIMEOUT_S,
        exclude: Sequence[str] = (),
        order: Order | None = None,
    ) -> Sent:
        """Push; an order gets the push's number if it has no id, and expires so many seconds from now."""
        number = len(self.sent)
        if order is not None:
            push_id, expires = order.push_id or f"p{number}", self.now + order.expires
            order = replace(order, push_id=push_id, timeout_ms=int(timeout_s * 1000), expires=expires)
        push = Push(
            f"p{number}",
            targets,
            b"%d " % number,
            exclude=frozenset(exclude),
            started=self.now,
            deadline=self.now + timeout_s,
            done=lambda _: self._done(sent),
            order=order,
        )
        sent = Sent(number, push)
        sent.holders = {
            (node.id, socket.conn)
            for node in self.nodes.values()
            if node.alive and node.hears
            for socket in node.hub
            if is_for(push, socket)
        }
        self.sent.append(sent)
        self.router.submit(push, self.now)
        return sent

    def copy(self, sent: Sent) -> None:
        """Make a push with an id of its own once more."""
        assert sent.push.order is not None
        receipts: list[Receipt] = []
        push = Push(
            sent.push.id,
            sent.push.targets,
            sent.push.frame,
            started=self.now,
            deadline=self.now + TIMEOUT_S,
            done=lambda push: receipts.append(push.receipt()),
            order=replace(sent.push.order, ticket=0),
        )
        self.copied.setdefault(sent.number, []).append(receipts)
        self.seen["a copy after the receipt"] += bool(sent.receipts)
        self.router.submit(push, self.now)

    def _done(self, sent: Sent) -> None:
        receipt = sent.push.receipt()
        sent.receipts.append(Receipt(receipt.id, list(receipt.deliveries), receipt.totals))
        sent.held_at_receipt = set(sent.holders)
        order = sent.push.order
        if order is not None and any(d.outcome is Outcome.ACKED for d in receipt.deliveries):
            self.seen["acked"] += 1
            self.seen["replied"] += any(d.replied for d in receipt.deliveries)
            self.seen["first of several"] += order.first and len(receipt.deliveries) > 1

    def _no_longer(self, node: str, conn: str) -> None:
        for sent in self.sent:
            sent.holders.discard((node, conn))

    def _not_open_for_everyone(self, node: str, conn: str) -> None:
        """A push to everyone, or to a group, is for who is connected: not for whom a node takes in again."""
        for sent in self.sent:
            if any(isinstance(target, (Everyone, Group)) for target in sent.push.targets):
                sent.holders.discard((node, conn))

    # The dispatcher's part

    def advance(self) -> None:
        """Do what the router wants done, up to where somebody else's part begins."""
        if self.look_up is None:
            self.look_up = look_up = self.router.take_look_up()
            if look_up is not None:
                self.later.append(lambda: self._read_registry(look_up))
        for action in self.router.take_actions():
            match action:
                case Seek():
                    self.later.append(lambda seek=action: self._read_live_nodes(seek))
                case Flight():
                    self._fly(action)
                case Probe():
                    self._probe(action)
                case Forget():
                    self.later.append(lambda forget=action: self._forget(forget))
                case Cancel():
                    self.later.append(lambda cancel=action: self._tell_cancelled(cancel))
                case Remember():
                    self.later.append(lambda remember=action: self._keep(remember))

    def _read_registry(self, look_up: Any) -> None:
        answer: tuple[Found | None, Listing | None] = (None, None)
        self.seen[ON_THEIR_OWN] += self.registry_away
        if not self.registry_away:
            owners = [self.owners.get(conn) for conn in look_up.conns]
            users = [
                [UserConnection(conn, *entry) for conn, entry in self.users.get(key, {}).items()]
                for key in look_up.users
            ]
            records = [self.receipts.get(copy.key) for copy in look_up.copies]
            answer = (
                Found(owners, users, not self.mending, records),
                self._listing() if look_up.nodes else None,
            )
        groups = [] if self.registry_away else [set(self.marks) for _ in look_up.groups]
        self.later.append(lambda: self._looked_up(look_up, answer, groups))

    def _keep(self, remember: Remember) -> None:
        copy, record = remember
        before = None
        self.seen[ON_THEIR_OWN] += self.registry_away
        if not self.registry_away:
            before = None if copy.known else self.receipts.get(copy.key)
            self.receipts[copy.key] = before or record
        self.later.append(lambda: self.router.remembered(copy, before))

    def _listing(self) -> Listing:
        return Listing(sorted(self.listed), sorted(self.lapsed), not self.mending)

    def _looked_up(
        self, look_up: Any, answer: tuple[Found | None, Listing | None], groups: list[set[str]]
    ) -> None:
        self.look_up = None
        self.router.looked_up(look_up, *answer, self.now, groups)

    def _read_live_nodes(self, seek: Seek) -> None:
        listing = None if self.registry_away else self._listing()
        self.later.append(lambda: self._seek(seek, listing))

    def _fly(self, flight: Flight) -> None:
        if not flight.trim():
            self.later.append(lambda: self.router.failed(flight, Outcome.UNAVAILABLE, self.now))
            return
        node = self.nodes[flight.node]
        if self.broker_away:
            self.later.append(lambda: self.router.failed(flight, Outcome.UNAVAILABLE, self.now))
        elif not node.addressable:
            self.later.append(lambda: self.router.returned(flight, self.now))
        else:
            node.queue.append(self._batch(flight))

    def _seek(self, seek: Seek, listing: Listing | None) -> None:
        if listing is not None:
            for node in self.router.doubt(listing, self.now):
                self._probe(Probe(node, seek), at_once=True)
        # Answers to others may come in between.
        self.later.append(lambda: self._broadcast(seek, listing))

    def _broadcast(self, seek: Seek, listing: Listing | None) -> None:
        if not seek.trim():
            self.router.failed(seek, Outcome.UNAVAILABLE, self.now)
            return
        self.router.expect(seek, listing)
        hearing = [node for node in self.nodes.values() if node.hears]
        if self.broker_away:
            self.later.append(lambda: self.router.failed(seek, Outcome.UNAVAILABLE, self.now))
        elif not hearing:
            self.later.append(lambda: self.router.nobody_heard(seek, self.now))
        for node in () if self.broker_away else hearing:
            node.queue.append(self._batch(seek))
        if hearing and not self.broker_away:
            self.router.broadcast(seek, self.now)

    def _batch(self, flight: Flight) -> Batch:
        last = max(item.push.deadline for item in flight.items)
        ttl_ms = max(1, int((last - self.now) * 1000))
        frames = [item.push.frame for item in flight.items]
        flight.sent = True
        return Batch(flight.id, self.now, ttl_ms, flight.targets(self.now), frames, isinstance(flight, Seek))

    def _probe(self, probe: Probe, *, at_once: bool = False) -> None:
        if self.broker_away:
            return
        addressable = self.nodes[probe.node].addressable

        def happen() -> None:
            if addressable:
                self.router.probe_arrived(probe)
            else:
                self.router.probe_returned(probe, self.now)

        if at_once:
            happen()
        else:
            self.later.append(happen)

    # The registry

    def _claim(self, socket: FakeSocket) -> None:
        node = self.where.get(socket)
        if self.registry_away or node is None:
            return
        before = self.owners.get(socket.conn)
        if before is not None and int(before.session) > int(socket.session):
            self.seen["older session refused"] += 1
            socket.close(4409)
            return
        owner = Owner(node.id, socket.session)
        if before is not None and before.node != node.id:
            self.seen["claimed before the old release"] += 1
        self.owners[socket.conn] = owner
        if socket.user is not None:
            listed = self.users.setdefault(socket.user.key, {})
            listed[socket.conn] = (owner, socket.user.from_type)
        self._mark(node)
        socket.marked = node.id in self.marks
        if before is not None and before.node != node.id:
            self._tell_replaced(socket.conn, before)

    def _mark(self, node: FakeNode) -> None:
        """Say of a node whether it has members of the group, as it is now."""
        if GROUP in node.hub.groups:
            self.marks.add(node.id)
        else:
            self.marks.discard(node.id)

    def _tell_replaced(self, conn: str, owner: Owner) -> None:
        node = self.nodes[owner.node]
        if node.addressable and not self.broker_away:
            target = close_target(conn, 4409, owner.session)
            node.queue.append(Batch(0, self.now, 5000, [target], [b""]))

    def _forget(self, forget: Forget) -> None:
        self._release(forget.conn, forget.owner, conn_too=forget.user is None)

    def _release(self, conn: str, owner: Owner, *, conn_too: bool = True) -> None:
        if self.registry_away:
            return
        if self.nodes[owner.node].alive:
            self._mark(self.nodes[owner.node])
        has = self.owners.get(conn)
        if has is not None and int(has.session) > int(owner.session):
            self.seen["release after the new claim"] += 1
        if conn_too and has == owner:
            del self.owners[conn]
        for listed in self.users.values():
            if conn in listed and listed[conn][0] == owner:
                del listed[conn]

    def empty_registry(self) -> None:
        """Take everything away from the registry, as FLUSHALL does; it does not know a node any more."""
        self.owners.clear()
        self.users.clear()
        self.marks.clear()
        self.forgotten = {node.id for node in self.nodes.values() if node.alive and not node.withdrawn}
        self.listed.clear()
        self.lapsed.clear()
        self.mending = True
        self.seen["registry emptied"] += 1

    def end_leases(self) -> None:
        """End the lease of every node that cannot renew it."""
        if self.registry_away:
            return
        for node in self.nodes.values():
            self.seen["lease ended while paused"] += node.paused and node.id in self.listed
        renewed = {node.id for node in self.nodes.values() if node.alive and not node.paused}
        self.lapsed |= self.listed - renewed
        self.listed &= renewed

    def heartbeat(self, node: FakeNode) -> None:
        """Renew a node's lease; one that the registry had forgotten asserts all that it holds."""
        if self.registry_away or not node.alive or node.paused or node.withdrawn:
            return
        if node.id in self.listed:
            return
        self.listed.add(node.id)
        lapsed = node.id in self.lapsed
        self.lapsed.discard(node.id)
        for socket in list(node.hub):
            self.seen["asserted again"] += 1
            if lapsed:
                # Nobody believed in the node: first what it holds, and then the node.
                self._claim(socket)
                continue
            self.asserting += 1
            self.later.append(lambda socket=socket: self._assert(socket))
        self._mend()

    def _assert(self, socket: FakeSocket) -> None:
        self._claim(socket)
        self.asserting -= 1
        self._mend()

    def _mend(self) -> None:
        """End the mending when every node that is there has told all that it holds."""
        self.forgotten -= self.listed
        there = {node.id for node in self.nodes.values() if node.alive and not node.withdrawn}
        if not self.forgotten & there and not self.asserting:
            self.mending = False

    # Clients

    def connect(self, conn: str, node_id: str, *, registered: bool = True) -> FakeSocket | None:
        node = self.nodes[node_id]
        if not node.alive or node.paused or node.leaving:
            return None
        socket = FakeSocket(conn, str(next(self._sessions)), USERS[conn], self.disconnect)
        self.sockets.append(socket)
        self.where[socket] = node
        before = node.hub.add(socket)
        if before is not None:
            del self.where[before]
            before.leave()
            node.acks.left(before)
            self._not_open_for_everyone(node.id, conn)
        if registered:
            self._open(socket)
            self._claim(socket)
        else:
            self.later.append(lambda: self._claim(socket))
            self.later.append(lambda: self._open(socket))
        return socket

    def _open(self, socket: FakeSocket) -> None:
        socket.opened = True

    def disconnect(self, socket: FakeSocket) -> None:
        node = self.where.pop(socket, None)
        if node is None:
            return
        node.hub.remove(socket)
        socket.leave()
        node.acks.left(socket)
        self._no_longer(node.id, socket.conn)
        self.later.append(lambda: self._release(socket.conn, Owner(node.id, socket.session)))

    def say(self, socket: FakeSocket, number: int, said: Said) -> None:
        """Have a client confirm or answer a push, its own or another one."""
        node = self.where.get(socket)
        if node is None or node.paused:
            return
        if number in socket.received:
            socket.said[number] = max(said, socket.said.get(number, Said.NOTHING))
        node.acks.answered(socket, f"p{number}", said, "1" if said is Said.REPLY else "")

    def _report(self, node: str, report: Report) -> None:
        self.seen[report.said.name] += 1
        if self.nodes[node].hears and not self.broker_away:
            self.later.append(lambda: self.router.reported([report], self.now))

    def _tell_cancelled(self, cancel: Cancel) -> None:
        node = self.nodes[cancel.node]
        if node.addressable and not self.broker_away:
            frames = [cancel.frame] * len(cancel.targets)
            node.queue.append(Batch(0, self.now, 5000, cancel.targets, frames))

    # Nodes

    def read(self, node: FakeNode) -> None:
        """Let a node carry out the next batch in its queue."""
        if not node.queue or node.paused:
            return
        batch = node.queue.popleft()
        self.seen["read while leaving"] += node.leaving
        if self.now > batch.sent_at + batch.ttl_ms / 1000:
            reply = refuse(batch, node.id, Answer.EXPIRED)
        else:
            reply = carry_out(node.hub, batch, node.id, node.acks, "", batch.sent_at)
            self.seen["refused while leaving"] += node.leaving and Answer.NOT_MINE in reply.answers
        if batch.id:
            self.replies.append(reply)

    def deafen(self, node: FakeNode) -> None:
        """Cut a node from the broker: its queue and what is in it are gone, its connections stay."""
        node.hears = False
        node.queue.clear()
        for socket in node.hub:
            self._no_longer(node.id, socket.conn)

    def cut_while_working(self, node: FakeNode) -> None:
        """Cut a node from the broker after it carried out all that it had, before it could answer."""
        while node.queue and not node.paused:
            self.read(node)
        self.replies = [reply for reply in self.replies if reply.node != node.id]
        self.deafen(node)

    def kill(self, node: FakeNode) -> None:
        """Kill a node: its connections are gone, the registry believes in it until its lease ends."""
        self.seen["killed"] += node.alive
        self.deafen(node)
        node.alive = node.paused = False
        for socket in list(node.hub):
            node.hub.remove(socket)
            socket.leave()
            del self.where[socket]

    def pause(self, node: FakeNode) -> None:
        """Stop a node: it does nothing, its queue fills and its connections stay."""
        if node.alive and not (self.local and node.id == HERE):
            node.paused = True

    def resume(self, node: FakeNode) -> None:
        """Let a node go on with what it believes."""
        if node.paused:
            node.paused = False
            moved = [socket for socket in node.hub if self._is_elsewhere(socket)]
            self.seen["resumed as a zombie"] += bool(moved)

    def _is_elsewhere(self, socket: FakeSocket) -> bool:
        owner = self.owners.get(socket.conn)
        return owner is not None and int(owner.session) > int(socket.session)

    def leave(self, node: FakeNode) -> None:
        """Let a node take its next step in leaving: a connection, the registry, the queue, itself."""
        if not node.alive or node.paused:
            return
        node.leaving = True
        socket = next(iter(node.hub), None)
        if socket is not None:
            self.disconnect(socket)
        elif not node.withdrawn:
            if not self.registry_away:
                self.listed.discard(node.id)
                self.lapsed.discard(node.id)
            node.withdrawn = True
        elif node.addressable:
            node.named = False
        else:
            # What is in the queue is read all the same.
            node.hears = False
        if not (node.hears or node.queue):
            node.alive = False
            self.seen["left in order"] += 1

    # Until the end

    def happen(self, number: int = 0) -> None:
        """Let one of the things happen that are under way."""
        if self.later:
            self.later.pop(number % len(self.later))()

    def reply(self, number: int = 0) -> None:
        """Let one of the answers under way arrive."""
        if self.replies:
            self.router.replied(self.replies.pop(number % len(self.replies)), self.now)

    def settle(self, except_node: str | None = None) -> None:
        """Let all that is under way happen, without letting time pass; one node may be slow."""
        slow = None if except_node is None else self.nodes[except_node]
        if slow is not None:
            slow.paused = True
        self._settle()
        if slow is not None:
            slow.paused = False

    def _settle(self) -> None:
        self.advance()
        rounds = 0
        while self.later or self.replies or any(n.queue for n in self.nodes.values() if not n.paused):
            rounds += 1
            assert rounds < MOST_ROUNDS, "it goes on for ever"
            self.happen()
            for node in self.nodes.values():
                self.read(node)
            self.reply()
            self.advance()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.router.expire(self.now)
        self.advance()

    def end(self) -> None:
        """Let everything under way happen and every deadline pass."""
        for socket in self.sockets:
            socket.opened = True
            socket.read_on(self.now)
        for _ in range(4):
            self.settle()
            self.pass_time(TIMEOUT_S)
        for node in self.nodes.values():
            self.resume(node)
        self.settle()

    def close(self) -> None:
        """Close the router, then let the nodes read what was sent, and clients what was promised."""
        self.seen[ON_THEIR_OWN] += 1
        self.router.close(self.look_up, self.now)
        for node in self.nodes.values():
            self.resume(node)
            while node.queue:
                self.read(node)
        for socket in self.sockets:
            socket.leave()


def three_connected(*, local: bool) -> Iterator[Cluster]:
    """Connect c0 to n1, c1 to n2 and c2 to n0; nothing may be left on its way at the end."""
    cluster = Cluster(local=local)
    for conn, node in (("c0", "n1"), ("c1", "n2"), ("c2", "n0")):
        cluster.connect(conn, node)
    cluster.settle()
    yield cluster
    cluster.end()
    assert cluster.router.idle


def is_for(push: Push, socket: FakeSocket) -> bool:
    """Say whether a push is meant for a connection."""
    return socket.conn not in push.exclude and any(_matches(target, socket) for target in push.targets)


def _matches(target: Conn | User | Group | Everyone, socket: FakeSocket) -> bool:
    if isinstance(target, Conn):
        return target.id == socket.conn
    if isinstance(target, Everyone):
        return True
    if isinstance(target, Group):
        return socket.marked and socket.opened and target.name in socket.groups.all
    user = socket.user
    return user is not None and user.key == target.key and target.from_type in (None, user.from_type)


# What must hold


def check(cluster: Cluster) -> None:
    """Check the router's promises after `Cluster.end`."""
    got = {number: Counter(_receivers(cluster, number)) for number in range(len(cluster.sent))}
    for sent in cluster.sent:
        assert len(sent.receipts) == 1, f"{sent.push.id} got {len(sent.receipts)} receipts"
        if sent.number in cluster.copied:
            check_copies(cluster, sent)
        else:
            check_truth(sent, got[sent.number])
        check_acks(cluster, sent)
    for socket in cluster.sockets:
        assert len(set(socket.received)) == len(socket.received), f"{socket.conn} got a push twice"
        check_order(cluster, socket)
    check_empty(cluster.router)


def _receivers(cluster: Cluster, number: int) -> list[str]:
    return [socket.conn for socket in cluster.sockets if number in socket.received]


def check_empty(router: Router) -> None:
    """Check that nothing of what was on its way is left."""
    assert router.open_items == 0
    assert router.idle, "the router keeps something"


def check_truth(sent: Sent, got: Counter[str]) -> None:
    """Check a receipt against who really got the frame, and who could have."""
    receipt = sent.receipts[0]
    for delivery in receipt.deliveries:
        if delivery.conn is None:
            continue
        if delivery.outcome in (Outcome.DELIVERED, Outcome.ACKED):
            assert got[delivery.conn], f"{receipt}: {delivery.outcome}, and nobody has it"
        elif delivery.outcome is not Outcome.UNKNOWN:
            assert not got[delivery.conn], f"{receipt}: {delivery.outcome}, and somebody has it"
        if delivery.outcome is Outcome.OFFLINE:
            held = {node for node, conn in sent.held_at_receipt if conn == delivery.conn}
            assert not held, f"{receipt}: offline, and {held} had it all the time"
    listed = [delivery.conn for delivery in receipt.deliveries if delivery.conn is not None]
    assert len(set(listed)) == len(listed), f"{receipt}: a connection is listed twice"
    if receipt.outcome in (Outcome.OFFLINE, Outcome.UNAVAILABLE, Outcome.OVERLOADED):
        assert not got, f"{receipt}: {receipt.outcome}, and {set(got)} have it"
    # With all that is listed of a user excluded the push ends without a delivery and without asking.
    unasked = bool(sent.push.exclude) and not receipt.deliveries
    if receipt.outcome is Outcome.OFFLINE and not unasked:
        assert not sent.held_at_receipt, f"{receipt}: offline, and {sent.held_at_receipt} all the time"
    if receipt.totals is not None:
        assert receipt.counts.get(Outcome.DELIVERED, 0) <= got.total()


def check_copies(cluster: Cluster, sent: Sent) -> None:
    """Check that what was written at its owner's was written once, and that copies got that receipt."""
    (receipt,) = sent.receipts
    copies = cluster.copied[sent.number]
    assert all(len(receipts) == 1 for receipts in copies), f"{sent.push.id}: a copy without its one receipt"
    by_owner = [
        d for d in receipt.deliveries if d.outcome is Outcome.DELIVERED and d.route is not Route.FALLBACK
    ]
    if not by_owner or len(by_owner) < len(receipt.deliveries) or cluster.seen[ON_THEIR_OWN]:
        return
    cluster.seen["copies of what was written"] += 1
    for delivery in receipt.deliveries:
        times = sum(s.received.count(sent.number) for s in cluster.sockets if s.conn == delivery.conn)
        assert times == 1, f"{sent.push.id}: {delivery.conn} got it {times} times"
    for (copy,) in copies:
        assert copy.counts == receipt.counts, f"{sent.push.id}: {copy.counts}, not {receipt.counts}"


def check_acks(cluster: Cluster, sent: Sent) -> None:
    """Check that who is said to have confirmed a push, or answered it, did."""
    for delivery in sent.receipts[0].deliveries:
        said = {s.said.get(sent.number, Said.NOTHING) for s in cluster.sockets if s.conn == delivery.conn}
        if delivery.outcome is Outcome.ACKED:
            assert max(said) >= Said.ACK, f"{sent.receipts[0]}: acked, and it did not"
        if delivery.replied:
            assert Said.REPLY in said, f"{sent.receipts[0]}: replied, and it did not"


def check_order(cluster: Cluster, socket: FakeSocket) -> None:
    """Check that pushes to one target came to a session in the order in which they were made."""
    received = [n for n in socket.received if n not in cluster.copied]
    by_conn = [n for n in received if Conn(socket.conn) in cluster.sent[n].push.targets]
    by_user = [n for n in received if n not in by_conn and _is_by_user(cluster.sent[n].push)]
    assert by_conn == sorted(by_conn), f"pushes to {socket.conn} came as {by_conn}"
    assert by_user == sorted(by_user), f"pushes to the user of {socket.conn} came as {by_user}"


def check_total_order(cluster: Cluster) -> None:
    """Check the order of all pushes, whatever their targets: where there is no trouble it holds."""
    for socket in cluster.sockets:
        assert socket.received == sorted(socket.received)


def _is_by_user(push: Push) -> bool:
    return any(isinstance(target, User) for target in push.targets)
