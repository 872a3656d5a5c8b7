from __future__ import annotations

import pytest

from sanic_ws.core.outcomes import Delivery, Outcome, Receipt, Route


def delivery(conn: str, outcome: Outcome) -> Delivery:
    return Delivery(conn, "n1", Route.DIRECT, outcome, 1.23456)


@pytest.mark.parametrize("outcome", [Outcome.DELIVERED, Outcome.OFFLINE, Outcome.UNKNOWN])
def test_one_delivery_gives_its_outcome(outcome):
    receipt = Receipt("p", [delivery("a", outcome)])
    assert (receipt.outcome, receipt.counts) == (outcome, {outcome: 1})


def test_equal_outcomes_are_one():
    receipt = Receipt("p", [delivery("a", Outcome.DELIVERED), delivery("b", Outcome.DELIVERED)])
    assert (receipt.outcome, receipt.counts) == (Outcome.DELIVERED, {Outcome.DELIVERED: 2})


def test_different_outcomes_are_partial():
    receipt = Receipt("p", [delivery("a", Outcome.DELIVERED), delivery("b", Outcome.OFFLINE)])
    assert receipt.outcome is Outcome.PARTIAL
    assert receipt.counts == {Outcome.DELIVERED: 1, Outcome.OFFLINE: 1}


def test_no_delivery_is_offline():
    assert (Receipt("p").outcome, Receipt("p", totals={}).outcome) == (Outcome.OFFLINE, Outcome.OFFLINE)


def test_receipt_is_written_as_the_contract_says():
    assert Receipt("p", [delivery("a", Outcome.DELIVERED)]).to_json() == {
        "id": "p",
        "outcome": "delivered",
        "counts": {"delivered": 1},
        "deliveries": [
            {"conn": "a", "node": "n1", "route": "direct", "outcome": "delivered", "latency_ms": 1.235}
        ],
    }


def test_receipt_of_a_push_to_everyone_lists_nobody():
    receipt = Receipt("p", totals={Outcome.DELIVERED: 5})
    assert receipt.to_json() == {"id": "p", "outcome": "delivered", "counts": {"delivered": 5}}
