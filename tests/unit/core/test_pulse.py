from __future__ import annotations

from sanic_ws.core.pulse import DEAD_AT, PING_AT, Pulse, Sign


def silence(pulse, beats):
    return [pulse.beat() for _ in range(beats)]


def test_silence_is_asked_about_once_and_then_is_death():
    pulse = Pulse()
    pulse.beat()
    signs = silence(pulse, DEAD_AT)
    assert signs == [
        *[Sign.WELL] * (PING_AT - 1),
        Sign.ASK,
        *[Sign.WELL] * (DEAD_AT - PING_AT - 1),
        Sign.DEAD,
    ]


def test_anything_that_is_heard_begins_anew():
    pulse = Pulse()
    pulse.beat()
    for _ in range(3):
        assert Sign.DEAD not in silence(pulse, DEAD_AT - 1)
        pulse.heard = True
        assert pulse.beat() is Sign.WELL
