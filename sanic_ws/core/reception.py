"""What a node does with a batch: write each frame, and say for each what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanic_ws.core.batch import (
    LEAVE_TARGET,
    Batch,
    Reply,
    read_bound_target,
    read_change_target,
    read_close_target,
    read_count_target,
    read_everyone_target,
    read_group_target,
    read_unless_target,
    read_user_target,
)
from sanic_ws.core.groups import WATCHERS
from sanic_ws.core.hub import EVERYONE
from sanic_ws.core.orders import read_order_target
from sanic_ws.core.outcomes import Answer
from sanic_ws.errors import MalformedBatch

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sanic_ws.core.acks import Acks
    from sanic_ws.core.hub import Hub


_SPECIAL = frozenset("@*!?#<>%^&/")


def carry_out(
    hub: Hub, batch: Batch, node: str, acks: Acks | None = None, sender: str = "", sent_at: float = 0.0
) -> Reply:
    """Carry a batch out on this node's connections, without waiting for any client.

    Args:
        hub: the connections.
        batch: it.
        node: this node.
        acks: carries out what is ordered beside.
        sender: where it is told later what clients say.
        sent_at: when it was sent, by the clock of `acks`.

    Raises:
        MalformedBatch: a target cannot be read; what stands before it is carried out.
    """
    if batch.seek and batch.plain and hub.has_none_of(batch.targets):
        return refuse(batch, node, Answer.NOT_MINE)
    answers = bytearray()
    reply = Reply(batch.id, node, b"")
    deliver = hub.deliver
    with hub.corked():
        for target, frame in zip(batch.targets, batch.frames, strict=True):
            kind = target[:1]
            if kind == "=":
                conn, user_key = read_bound_target(target)
                answer = deliver(conn, frame, user_key)
            elif kind not in _SPECIAL:
                answer = deliver(target, frame)
            elif kind == "?":
                answer = _ordered(hub, reply, len(answers), target, frame, acks, sender, sent_at)
            elif kind == "/":
                answer = _leave(batch, reply, target)
            else:
                answer = _special(hub, reply, len(answers), target, frame)
            answers.append(answer)
    reply.answers = bytes(answers)
    return reply


def refuse(batch: Batch, node: str, answer: Answer) -> Reply:
    """Give every item of a batch the same answer."""
    return Reply(batch.id, node, bytes([answer]) * len(batch.targets))


def _leave(batch: Batch, reply: Reply, target: str) -> Answer:
    if batch.seek or target != LEAVE_TARGET:
        raise MalformedBatch("only one node at a time is told to leave")
    reply.leaves = True
    return Answer.DELIVERED


def _special(hub: Hub, reply: Reply, number: int, target: str, frame: bytes) -> Answer:
    if target[0] == "!":
        return hub.close(*read_close_target(target))
    if target[0] == "@":
        user, exclude = read_user_target(target)
        found = [(conn, int(answer)) for conn, answer in hub.deliver_to_user(user, frame, exclude)]
        if not found:
            return Answer.NOT_MINE
        reply.details[number] = found
        return Answer.SEVERAL
    if target[0] in "<>":
        return _change(hub, reply, number, target)
    if target[0] == "^":
        conn, users = read_unless_target(target)
        return Answer.LEFT_OUT if hub.is_left_out(conn, users) else hub.deliver(conn, frame)
    counted: Mapping[Answer, int]
    if target[0] == "%":
        counted = {Answer.DELIVERED: hub.number_in(read_count_target(target))}
    elif target[0] == "&":
        counted = hub.deliver_to_many(f"#{WATCHERS}", frame)
    else:
        many, left_out = _read_many_target(target)
        counted = hub.deliver_to_many(many, frame, left_out)
    reply.details[number] = [(int(answer), count) for answer, count in counted.items()]
    return Answer.SEVERAL


def _read_many_target(target: str) -> tuple[str, Collection[str]]:
    """Read for whom an item for many is, as `Hub.deliver_to_many` takes it, and who gets nothing."""
    if target[0] == "#":
        group, exclude = read_group_target(target)
        return f"#{group}", exclude
    return EVERYONE, read_everyone_target(target)


def _ordered(
    hub: Hub,
    reply: Reply,
    number: int,
    target: str,
    frame: bytes,
    acks: Acks | None,
    sender: str,
    sent_at: float,
) -> Answer:
    if acks is None:
        raise MalformedBatch("orders are not carried out here")
    order, target = read_order_target(target, sent_at)
    if target[0] in "!<>%&/":
        raise MalformedBatch("nothing is ordered beside what is no push")
    if acks.is_over(order):
        return Answer.EXPIRED
    if target[0] == "@":
        user, exclude = read_user_target(target)
        found = acks.deliver_to_user(order, user, frame, exclude, sender)
        if not found:
            return Answer.NOT_MINE
        reply.details[number] = [(conn, int(answer)) for conn, answer in found]
    elif target[0] in "*#":
        many, left_out = _read_many_target(target)
        counted = acks.deliver_to_many(
            order, many, lambda late: hub.deliver_to_many(many, frame, left_out, late)
        )
        reply.details[number] = [(int(answer), count) for answer, count in counted.items()]
    elif target[0] == "^":
        conn, users = read_unless_target(target)
        if hub.is_left_out(conn, users):
            return Answer.LEFT_OUT
        return acks.deliver(order, conn, frame, None, sender)
    else:
        conn, user_key = read_bound_target(target) if target[0] == "=" else (target, None)
        return acks.deliver(order, conn, frame, user_key, sender)
    return Answer.SEVERAL


def _change(hub: Hub, reply: Reply, number: int, target: str) -> Answer:
    change = read_change_target(target)
    answer = hub.change(change)
    if answer is Answer.DELIVERED:
        reply.changes[number] = change
    return answer
