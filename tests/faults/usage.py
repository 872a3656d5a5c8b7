"""What a node uses: files, tasks and memory."""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from tests.faults.cluster import Member
from tests.faults.open_files import FORGOTTEN
from tests.integration.peers import eventually

REDIS_POOL = 16


@dataclass(frozen=True, slots=True)
class Usage:
    """What a node uses, its clients' sockets aside."""

    files: Mapping[str, int]
    tasks: int
    memory_bytes: int

    @classmethod
    async def of(cls, member: Member) -> Self:
        files = await member.open_files()
        process = (await member.stats())["process"]
        others = {name: number for name, number in files.items() if not name.startswith("clients")}
        return cls(others, process["tasks"], process["memory_bytes"])

    def within(self, other: Self) -> bool:
        """Say whether there are no more files and tasks than there were."""
        more = Counter(self.files) - Counter(other.files)
        # Those to Redis are a pool that grows to what was needed at one time, and no further; one that Redis
        # has closed, or reset, stays in it until it is wanted.
        pooled = sum(more.pop(name) for name in list(more) if name.startswith(("redis", FORGOTTEN)))
        return not more and pooled <= REDIS_POOL and self.tasks <= other.tasks

    def __str__(self) -> str:
        return f"{dict(sorted(self.files.items()))}, {self.tasks} tasks"


async def back_at(member: Member, before: Usage) -> Usage:
    """Wait, for a while, until a node has no more files and tasks than it had; return what it has."""
    now = before

    async def is_back() -> bool:
        nonlocal now
        now = await Usage.of(member)
        return now.within(before)

    with suppress(AssertionError):
        await eventually(is_back, "files and tasks to be what they were")
    return now
