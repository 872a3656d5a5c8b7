"""Storing: what is to be stored is stored first, and goes on its way live after that.

What comes while letters are being stored is stored together, in the next round. Pushes of this publisher to
one target keep their order: one behind a push that is being stored waits for it, and nobody else does.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING

from sanic_ws.core.frames import payload_start
from sanic_ws.core.identity import Conn, User
from sanic_ws.core.mail import Letter, Posted
from sanic_ws.core.outcomes import Delivery, Outcome, Receipt
from sanic_ws.core.push import Push
from sanic_ws.dispatch.rounds import Rounds
from sanic_ws.errors import MailboxAway, MailboxUnavailable
from sanic_ws.logs import event_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sanic_ws.core.identity import Everyone, Group
    from sanic_ws.core.orders import Order
    from sanic_ws.mailbox import Mailbox

TICK_S = 0.05
MOST_HELD = 20_000
"""Pushes that are being stored, or wait behind one that is; any more are `overloaded`."""
MOST_IN_ROUND = 500
log = event_log("sanic_ws.dispatch")

_SENT = (Outcome.DELIVERED, Outcome.ACKED)


@dataclass(slots=True, eq=False)
class _Whole:
    """A push that is to be stored: for each of its targets there is one of its own."""

    push: Push
    open: int
    deliveries: list[Delivery] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Held:
    """A push that is held back.

    Attributes:
        push: it.
        targets: what it is for, by mailboxes.
        whole: of what it is a part, if it is to be stored.
        letter: what is stored of it.
        blockers: how much it waits for.
        behind: who waits for it.
        failed: how it ends, unless it is sent.
        over: whether it has ended.
    """

    push: Push
    targets: Sequence[str]
    whole: _Whole | None = None
    letter: Letter | None = None
    blockers: int = 0
    behind: list[_Held] = field(default_factory=list)
    failed: Outcome | None = None
    over: bool = False


class Storing:
    """Store pushes and send them on their way.

    Args:
        mailbox: where they are stored.
        submit: sends them on their way.

    Attributes:
        stored: how many were.
    """

    def __init__(self, mailbox: Mailbox, submit: Callable[[Sequence[Push]], None]) -> None:
        self._mailbox = mailbox
        self._submit = submit
        self._rounds: Rounds[_Held, None] = Rounds(self._store_round, MOST_IN_ROUND)
        self._last: dict[str, _Held] = {}
        self._held: dict[_Held, None] = {}
        self._ticking = False
        self.stored = 0

    @property
    def busy(self) -> bool:
        """Whether anything is held back."""
        return bool(self._held)

    def submit(self, pushes: Iterable[Push]) -> None:
        """Take pushes in, in this order."""
        passing: list[Push] = []
        for push in pushes:
            if push.order is not None and push.order.keep_s is not None:
                self._store(push, push.order, push.order.keep_s)
            elif not self._wait_behind(push):
                passing.append(push)
        if passing:
            self._submit(passing)
        self._tick_later()

    async def close(self) -> None:
        """Wait until what is being stored is, or not."""
        await self._rounds.join()

    # What is to be stored

    def _store(self, push: Push, order: Order, keep_s: float) -> None:
        boxes = _by_box(push.targets)
        whole = _Whole(push, len(boxes))
        payload = push.frame[payload_start(push.frame) :]
        for box, targets in boxes.items():
            own = Push(
                push.id,
                targets,
                push.frame,
                started=push.started,
                deadline=push.deadline,
                done=lambda part: self._done(whole, part),
                order=replace(order),
                trace=push.trace,
            )
            letter = Letter(box, push.id, payload, keep_s, _only(targets), repeatable=order.once)
            held = _Held(own, (box,), whole, letter, blockers=1)
            if len(self._held) >= MOST_HELD:
                self._end(held, Outcome.OVERLOADED)
                continue
            self._hold(held)
            self._rounds.add(held)

    async def _store_round(self, round_: Sequence[_Held]) -> list[None]:
        """Store what has come, and let it go on its way."""
        try:
            places = await self._mailbox.store([held.letter for held in round_ if held.letter is not None])
        except Exception as exc:  # noqa: BLE001 - a fault of ours: nobody waits in vain
            log.fault("not stored", exc)
            places = [MailboxUnavailable()] * len(round_)
        for held, place in zip(round_, places, strict=True):
            if isinstance(place, MailboxUnavailable):
                away = isinstance(place, MailboxAway)
                held.failed = Outcome.UNAVAILABLE if away else Outcome.UNKNOWN
            else:
                assert held.push.order is not None
                held.push.order.posted = Posted(held.targets[0], place)
                self.stored += 1
        self._release(round_)
        return [None] * len(round_)

    # Order

    def _wait_behind(self, push: Push) -> bool:
        """Have a push that is not stored wait if one of its targets' is being stored."""
        names = [name for name in map(_name, push.targets) if name in self._last]
        if not names:
            return False
        held = _Held(push, names)
        if len(self._held) >= MOST_HELD:
            self._end(held, Outcome.OVERLOADED)
        else:
            self._hold(held)
        return True

    def _hold(self, held: _Held) -> None:
        self._held[held] = None
        for target in held.targets:
            before = self._last.get(target)
            if before is not None:
                before.behind.append(held)
                held.blockers += 1
            self._last[target] = held

    def _release(self, freed: Sequence[_Held]) -> None:
        """Take in that pushes wait for one thing less; what waits for nothing any more goes on its way."""
        queue, passing = list(freed), []
        for one in queue:
            one.blockers -= 1
            if one.blockers:
                continue
            del self._held[one]
            for target in one.targets:
                if self._last[target] is one:
                    del self._last[target]
            if one.failed is not None and not one.over:
                self._end(one, one.failed)
            elif not one.over:
                passing.append(one.push)
            queue += one.behind
        if passing:
            self._submit(passing)

    # Time

    def _tick_later(self) -> None:
        if self._held and not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        """End what is past its deadline: it may be stored, and what is not to be is certainly not sent."""
        self._ticking = False
        now = monotonic()
        for held in self._held:
            if held.push.deadline <= now and not held.over:
                self._end(held, Outcome.UNAVAILABLE if held.whole is None else Outcome.UNKNOWN)
        self._tick_later()

    # Receipts

    def _end(self, held: _Held, outcome: Outcome) -> None:
        """End a push that is not sent."""
        held.over = True
        push, now = held.push, monotonic()
        for target in push.targets if held.whole is None else push.targets[:1]:
            push.add(target.id if isinstance(target, Conn) else None, None, None, outcome, now)
        if held.whole is None:
            push.done(push)
        else:
            self._add(held.whole, push.receipt().deliveries)

    def _done(self, whole: _Whole, part: Push) -> None:
        """Take in what became of a push that is stored: what did not arrive is there."""
        assert part.order is not None
        assert part.order.posted is not None
        instead = Outcome.STORED if part.order.posted.place.certain else Outcome.UNKNOWN
        deliveries = list(part.receipt().deliveries)
        for delivery in deliveries:
            if delivery.outcome not in _SENT:
                delivery.outcome = instead
        if not deliveries:
            target = part.targets[0]
            conn = target.id if isinstance(target, Conn) else None
            deliveries = [Delivery(conn, None, None, instead, (monotonic() - part.started) * 1000)]
        self._add(whole, deliveries)

    def _add(self, whole: _Whole, deliveries: Sequence[Delivery]) -> None:
        whole.deliveries += deliveries
        whole.open -= 1
        if not whole.open:
            whole.push.adopt(Receipt(whole.push.id, whole.deliveries))
            whole.push.done(whole.push)


def _name(target: Conn | User | Group | Everyone) -> str:
    if isinstance(target, Conn):
        return target.id
    return f"@{target.key}" if isinstance(target, User) else ""


def _by_box(targets: Iterable[Conn | User | Group | Everyone]) -> dict[str, list[Conn | User]]:
    """Return whose mailboxes targets have; a user who is named for all devices is not for some of them."""
    boxes: dict[str, list[Conn | User]] = {}
    for target in targets:
        assert isinstance(target, (Conn, User))
        named = boxes.setdefault(_name(target), [])
        if target not in named:
            named.append(target)
    return {box: [named for named in own if _is_for_all(named)][:1] or own for box, own in boxes.items()}


def _is_for_all(target: Conn | User) -> bool:
    return isinstance(target, Conn) or target.from_type is None


def _only(targets: Sequence[Conn | User]) -> str:
    """Return which of a mailbox's readers a letter is for."""
    kinds = [target.token.partition(";")[2] for target in targets if isinstance(target, User)]
    return ",".join(f"@{kind}" for kind in kinds if kind)
