"""What must hold whatever breaks, checked over the logs of publishers and clients.

1. No receipt lied.
   `delivered`: a frame arrived. What was under way when the client itself cut the socket, or when it was cut
   off because it had stopped reading, may be missing: it was written to the open socket all the same.
   A node that is killed is no excuse: what it wrote is the operating system's to deliver.
   `offline`: the client was not connected for the whole time from before the push to its receipt. Nobody
   believes in a node that could not renew its lease: what it held while it was away does not count.
   `offline`, `unavailable`, `overloaded`: no frame arrived, then or later.
2. One publisher's pushes to one connection arrive in the order in which they were made.
3. No frame arrives twice for one push on one session. A second session may get a copy: what was handed to all
   nodes may reach the one that the client has moved to after the one that it came from. The copy has no place
   in the order.
4. `connected` is the first frame of a session: what came before it is counted as no push at all.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import inf

from tests.faults.logs import REPLACED, SLOW, Absence, ClientLog, Frame, PushLog, Session

LAG_S = 1.0
"""How much later than its node a client may learn that its session has ended: it reads the end when its
process has time for it, and a push may have been answered meanwhile."""
NOT_SENT = frozenset({"offline", "unavailable", "overloaded"})


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not happen; `text` holds all that is needed to understand it."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}\n{self.text}"


def check(
    pushes: Iterable[PushLog], clients: Mapping[str, ClientLog], absences: Sequence[Absence] = ()
) -> list[Violation]:
    """Return what the logs hold against the gateway; nothing may be under way any more."""
    pushes = list(pushes)
    by_id = {push.id: push for push in pushes}
    violations: list[Violation] = []
    frames = _frames_by_push(clients.values())
    for push in pushes:
        client = clients[push.conn]
        kind = _lie(push, client, frames.get(push.id, []), absences)
        if kind is not None:
            violations.append(Violation(kind, describe(push, client, absences)))
    for client in clients.values():
        violations += _twice(client, by_id, absences)
        violations += _out_of_order(client, by_id, absences)
        violations += _astray(client, by_id)
    return violations


def copies(clients: Mapping[str, ClientLog]) -> int:
    """Return how many frames were copies, on another session, of what had arrived before."""
    return sum(len(c.frames) - len({frame.push for frame in c.frames}) for c in clients.values())


def count(pushes: Iterable[PushLog]) -> Counter[str]:
    """Return how many pushes had which outcome; `none` where there was no receipt."""
    return Counter(push.outcome or "none" for push in pushes)


def report(violations: Sequence[Violation], most: int = 10) -> str:
    """Return the first of each kind at full length, and how many there are."""
    kinds = Counter(violation.kind for violation in violations)
    lines = [f"{len(violations)} violations: {dict(kinds)}"]
    shown: Counter[str] = Counter()
    for violation in violations:
        shown[violation.kind] += 1
        if shown[violation.kind] <= max(1, most // len(kinds)):
            lines.append(str(violation))
    return "\n\n".join(lines)


# Receipts


def _lie(
    push: PushLog, client: ClientLog, frames: Sequence[Frame], absences: Sequence[Absence]
) -> str | None:
    if push.ended_at is None:
        return "a push without an end"
    if push.outcome == "delivered" and not frames and not _lost_by_client(push, client):
        return "delivered without a frame"
    if push.outcome in NOT_SENT and frames:
        return f"{push.outcome} although the frame arrived"
    if push.outcome == "offline" and _was_connected(push, client, absences):
        return "offline although the client was connected"
    return None


def _lost_by_client(push: PushLog, client: ClientLog) -> bool:
    """Say whether the client itself may have thrown the frame away."""
    return any(
        (session.by_client or (session.stuck and session.code == SLOW))
        and session.opened_at is not None
        and (push.node is None or session.node == push.node)
        and _overlap(session, push)
        for session in client.sessions
    )


def _overlap(session: Session, push: PushLog) -> bool:
    assert push.ended_at is not None
    begins = session.tried_at
    ends = session.ended_at
    # A frame may have been written long before the client, which did not read, was cut off.
    return begins <= push.ended_at and (ends is None or session.stuck or ends >= push.started_at)


def _was_connected(push: PushLog, client: ClientLog, absences: Sequence[Absence]) -> bool:
    """Say whether sessions that followed each other without a gap cover the push and the lag after it.

    A session counts until the client has opened its next one: the newest has the id, and the old socket may
    stay open for a while.
    """
    assert push.ended_at is not None
    until = push.ended_at
    covered = push.started_at
    sessions = sorted(
        (s for s in client.sessions if s.opened_at is not None), key=lambda s: s.opened_at or 0.0
    )
    for session, successor in zip_longest(sessions, sessions[1:]):
        since = session.bound_at if push.by_user else session.opened_at
        if since is None or since > covered or _absent(session, push, absences):
            continue
        ends = [_certain_end(session), None if successor is None else successor.opened_at]
        end = min((end for end in ends if end is not None), default=inf)
        if end >= until:
            return True
        covered = max(covered, end)
    return False


def _certain_end(session: Session) -> float | None:
    """Return until when the node certainly had it; a session that was replaced has a successor by then."""
    if session.closed_at is None or session.code == REPLACED:
        return session.closed_at
    return min(session.closed_at, session.unread_since or session.closed_at) - LAG_S


def _absent(session: Session, push: PushLog, absences: Sequence[Absence]) -> bool:
    """Say whether the session's node was not believed in at some time of the push, and rightly so."""
    assert push.ended_at is not None
    return any(
        absence.node == session.node
        # It renewed its lease at most a third of it earlier, and comes back with its next beat.
        and absence.since + absence.lease_s / 2 <= push.ended_at
        and (absence.until is None or push.started_at <= absence.until)
        for absence in absences
    )


# Frames


def _frames_by_push(clients: Iterable[ClientLog]) -> dict[str, list[Frame]]:
    found: dict[str, list[Frame]] = defaultdict(list)
    for client in clients:
        for frame in client.frames:
            found[frame.push].append(frame)
    return found


def _twice(
    client: ClientLog, by_id: Mapping[str, PushLog], absences: Sequence[Absence]
) -> Iterable[Violation]:
    counts = Counter((frame.push, frame.session) for frame in client.frames)
    for (push, session), number in counts.items():
        if number > 1:
            text = f"{number} times on session {session}\n{_known(push, by_id, client, absences)}"
            yield Violation("a frame twice on one session", text)


def _out_of_order(
    client: ClientLog, by_id: Mapping[str, PushLog], absences: Sequence[Absence]
) -> Iterable[Violation]:
    last: dict[tuple[str, bool], Frame] = {}
    seen: set[str] = set()
    for frame in client.frames:
        push = by_id.get(frame.push)
        if push is None or frame.push in seen:
            continue
        seen.add(frame.push)
        lane = (frame.publisher, push.by_user)
        before = last.get(lane)
        if before is None or before.sequence < frame.sequence:
            last[lane] = frame
        elif _must_follow(frame, before, client, by_id):
            text = f"{frame.push} came {frame.at - before.at:.3f} s after {before.push}\n"
            text += f"{_line(by_id[before.push])}\n{describe(push, client, absences)}"
            yield Violation("out of order", text)


def _must_follow(late: Frame, early: Frame, client: ClientLog, by_id: Mapping[str, PushLog]) -> bool:
    """Say whether `early`, which was pushed later, should have come after `late`."""
    first, second = by_id[late.push], by_id[early.push]
    if not first.in_order and (not _is_known(first) or (first.ended_at or 0.0) > second.started_at):
        return False
    one, other = client.sessions[late.session], client.sessions[early.session]
    # Two sockets that are open at the same time are read in any order.
    return one is other or (one.tried_at > (other.ended_at or one.tried_at))


def _is_known(push: PushLog) -> bool:
    """Say whether it was over when its publisher went on: of several ways one may be slower than another."""
    return push.ended_at is not None and push.outcome not in (None, "unknown")


def _astray(client: ClientLog, by_id: Mapping[str, PushLog]) -> Iterable[Violation]:
    for frame in client.frames:
        push = by_id.get(frame.push)
        if push is None:
            yield Violation("a frame that nobody pushed", f"{frame} at {client.sign}")
        elif push.conn != client.sign:
            yield Violation("a frame at the wrong client", f"{_line(push)}\n{frame} at {client.sign}")


# Texts


def describe(push: PushLog, client: ClientLog, absences: Sequence[Absence] = ()) -> str:
    """Return a push's story: the receipt, the client's sessions around it, and its frames."""
    zero = push.started_at
    lines = [_line(push), history(client, zero)]
    lines += [
        f"  frame {f.at - zero:+.3f} on session {f.session}" for f in client.frames if f.push == push.id
    ]
    lines += [
        f"  {absence.node} away from {absence.since - zero:+.3f} to "
        + ("now" if absence.until is None else f"{absence.until - zero:+.3f}")
        for absence in absences
    ]
    return "\n".join(lines)


def history(client: ClientLog, zero: float = 0.0) -> str:
    """Return a client's sessions, a line each, with their times from `zero` on."""
    lines = []
    for number, session in enumerate(client.sessions):
        times = ", ".join(
            f"{name} {value - zero:+.3f}"
            for name in ("tried_at", "opened_at", "bound_at", "closed_at", "ended_at")
            if (value := getattr(session, name)) is not None
        )
        marks = " ".join(name for name in ("by_client", "stuck") if getattr(session, name))
        lines.append(f"  session {number} on {session.node}: {times} code {session.code} {marks}")
    return "\n".join(lines)


def _known(push_id: str, by_id: Mapping[str, PushLog], client: ClientLog, absences: Sequence[Absence]) -> str:
    push = by_id.get(push_id)
    return push_id if push is None else describe(push, client, absences)


def _line(push: PushLog) -> str:
    took = "open" if push.ended_at is None else f"{push.ended_at - push.started_at:.3f} s"
    to = f"user {push.conn}" if push.by_user else push.conn
    return (
        f"push {push.id} to {to}: {push.outcome} by {push.route} at {push.node}, took {took}, "
        f"started at {push.started_at:.3f} {push.detail}"
    )
