"""For how long a registry is not whole after a loss."""

from sanic_ws.registry.mending import WHOLE, Mending

LEASE_S = 15.0


def test_whole_registry_is_not_mended():
    mending = Mending()
    assert not mending.has_passed(WHOLE, LEASE_S, 0.0)
    assert not mending.has_passed(WHOLE, LEASE_S, 100.0)


def test_it_takes_a_lease():
    mending = Mending()
    assert not mending.has_passed(None, LEASE_S, 10.0)
    assert not mending.has_passed(None, LEASE_S, 24.9)
    assert mending.has_passed(None, LEASE_S, 25.0)


def test_each_loss_begins_it_anew():
    mending = Mending()
    mending.has_passed(None, LEASE_S, 0.0)
    assert not mending.has_passed(b"node-a 0", LEASE_S, 14.0)
    assert not mending.has_passed(b"node-b 0", LEASE_S, 28.0)
    assert not mending.has_passed(b"node-b 0", LEASE_S, 42.0)
    assert mending.has_passed(b"node-b 0", LEASE_S, 43.0)


def test_loss_of_long_ago_does_not_count_for_the_next():
    mending = Mending()
    mending.has_passed(None, LEASE_S, 0.0)
    mending.has_passed(WHOLE, LEASE_S, 5.0)
    assert not mending.has_passed(None, LEASE_S, 100.0)
