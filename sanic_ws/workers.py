"""Several processes for one port, and their end.

Sanic's own manager can wait for ever for workers that are told to stop while they start
(``wait_for_ack`` in 25.12), so the few lines that are needed are here.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from sanic_ws.logs import event_log

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkProcess
    from types import FrameType

RESTART_PAUSE_S = 1.0
_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

log = event_log("sanic_ws.workers")


def run_workers(number: int, work: Callable[[], None]) -> None:
    """Run something in several processes until SIGINT or SIGTERM, which they get as SIGTERM.

    One that ends by itself is started again. Nothing may have been started before that a fork harms.
    """
    workers: list[ForkProcess] = []
    told: set[ForkProcess] = set()
    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        for worker in workers:
            if worker not in told and worker.is_alive():
                told.add(worker)
                worker.terminate()

    previous = {which: signal.signal(which, stop) for which in _SIGNALS}
    try:
        while not stopping or workers:
            while not stopping and len(workers) < number:
                workers.append(_start(work))
            # A signal that came while a worker was being started has not reached it.
            if stopping:
                stop(0, None)
            wait([worker.sentinel for worker in workers], timeout=RESTART_PAUSE_S)
            ended = [worker for worker in workers if worker.exitcode is not None]
            workers = [worker for worker in workers if worker.exitcode is None]
            if ended and not stopping:
                log.error("worker ended, starting another", exit_code=ended[0].exitcode)
                time.sleep(RESTART_PAUSE_S)
    finally:
        for which, handler in previous.items():
            signal.signal(which, handler)


def _start(work: Callable[[], None]) -> ForkProcess:
    worker = multiprocessing.get_context("fork").Process(target=_run, args=(work, os.getpid()))
    # Until the worker has its own handlers it must not run the parent's.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        worker.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    return worker


def _run(work: Callable[[], None], parent: int) -> None:
    os.setpgrp()  # Ctrl-C is the parent's to pass on
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    for which in _SIGNALS:
        signal.signal(which, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    if os.getppid() == parent:
        try:
            work()
        except Exception:
            log.exception("worker failed")
            sys.exit(1)
