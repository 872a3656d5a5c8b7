from __future__ import annotations

import pytest

from sanic_ws.core.comeback import BASE_S, CAP_S, MOST_TOLD_S, STABLE_S, Comeback

ALMOST_1 = 0.999


def comeback(draw=ALMOST_1, *, renews=False):
    return Comeback(renews=renews, draw=lambda: draw)


class TestClose:
    @pytest.mark.parametrize("code", [1002, 1007, 1008, 1009, 4403, 4409])
    def test_stays_away(self, code):
        assert comeback().after_close(code, "", 0) is None

    @pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1011, 1012, 1013, 4408, 4999])
    def test_comes_back(self, code):
        assert comeback(0.5).after_close(code, "", 0) == BASE_S / 2

    @pytest.mark.parametrize(
        ("reason", "after_ms", "wait_s"),
        [
            ("retry_after_ms=1500", None, 1.5),
            ("retry_after_ms=1500", 700, 1.5),
            ("", 700, 0.7),
            ("leaves; retry_after_ms=0", None, 0),
            ("retry_after_ms=999999999", None, MOST_TOLD_S),
        ],
    )
    def test_restart_says_when(self, reason, after_ms, wait_s):
        assert comeback().after_close(1012, reason, 0, after_ms) == wait_s

    @pytest.mark.parametrize(
        "reason", ["retry_after_ms=", "retry_after_ms=-1", "retry_after_ms=x", "xretry_after_ms=5"]
    )
    def test_nonsense_does_not(self, reason):
        assert comeback(0).after_close(1012, reason, 0) == 0

    def test_too_many_is_slow_at_once(self):
        assert comeback(0).after_close(4429, "", 0) == CAP_S / 2
        assert comeback().after_close(4429, "", 0) == pytest.approx(CAP_S, rel=0.01)


class TestBackoff:
    def test_full_jitter_doubles_up_to_the_cap(self):
        one = comeback(0.5)
        waits = [one.after_failure() for _ in range(100)]
        assert waits[:4] == [BASE_S / 2, BASE_S, 2 * BASE_S, 4 * BASE_S]
        assert waits[-1] == CAP_S / 2

    def test_a_stable_connection_begins_anew_and_a_short_one_does_not(self):
        one = comeback(0.5)
        for _ in range(5):
            one.after_failure()
        assert one.after_close(1006, "", STABLE_S / 2) > BASE_S / 2
        assert one.after_close(1006, "", STABLE_S) == BASE_S / 2

    def test_draws_differ(self):
        assert len({Comeback().after_failure() for _ in range(20)}) > 10


class TestToken:
    def test_a_fresh_token_is_tried_once(self):
        one = comeback(renews=True)
        assert one.after_close(4401, "", 0) is not None
        assert one.after_refusal(401) is None

    def test_a_token_that_has_served_may_be_followed_by_another(self):
        one = comeback(renews=True)
        for _ in range(5):
            assert one.after_close(4401, "the token has expired", STABLE_S) is not None

    def test_there_is_no_other_one(self):
        assert comeback().after_close(4401, "", STABLE_S) is None
        assert comeback().after_refusal(401) is None


class TestRefusal:
    @pytest.mark.parametrize("status", [200, 301, 400, 403, 404, 409, 426])
    def test_stays_away(self, status):
        assert comeback().after_refusal(status) is None

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
    def test_comes_back(self, status):
        assert comeback(0.5).after_refusal(status) == BASE_S / 2

    @pytest.mark.parametrize(
        ("retry_after", "wait_s"),
        [("5", 5.25), ("999999", MOST_TOLD_S + 0.25), ("soon", 0.25), ("-1", 0.25), ("", 0.25), (None, 0.25)],
    )
    def test_says_when(self, retry_after, wait_s):
        assert comeback(0.5).after_refusal(503, retry_after) == wait_s
