"""CPU time and memory of processes, as the system accounts for them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PPID, UTIME, STIME = 1, 11, 12  # fields of /proc/<pid>/stat, counted after the command's name
QUIET_SHARE = 0.05  # of one CPU


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def family(pids: Iterable[int]) -> list[int]:
    """List the processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[PPID]), []).append(int(entry.name))
    found: list[int] = []
    todo = list(pids)
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Sum the CPU seconds (user and system, all threads) that the live processes have used so far."""
    return sum(_process_cpu_s(pid) for pid in pids)


def _process_cpu_s(pid: int) -> float:
    """Take the live threads' nanoseconds, or the process's ticks where ended threads made them more."""
    try:
        threads = sum(
            int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
        )
    except (OSError, IndexError, ValueError):
        threads = 0
    fields = _stat(pid)
    ticks = int(fields[UTIME]) + int(fields[STIME]) if fields else 0
    return max(threads / 1e9, ticks / TICKS_PER_S)


def pss_bytes(pids: Iterable[int]) -> int:
    """Sum the proportional set sizes: private memory plus a share of what is shared."""
    return sum(_process_pss(pid) for pid in pids)


def _process_pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def settle(pids: Iterable[int], *, look_s: float = 0.1, limit_s: float = 15.0) -> None:
    """Wait until the processes have stopped working on what they were given."""
    watched = list(pids)
    end = time.monotonic() + limit_s
    before = cpu_s(watched)
    while time.monotonic() < end:
        time.sleep(look_s)
        now = cpu_s(watched)
        if now - before < look_s * QUIET_SHARE:
            return
        before = now
