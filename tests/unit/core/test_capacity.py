"""The arithmetic of `sanic-ws plan`."""

import pytest

from sanic_ws.core.capacity import plan


def numbers(*args, **options):
    return {need.what: need.number for need in plan(*args, **options)}


def test_small_load_needs_one_of_each():
    needs = numbers(1000, 100)
    assert needs["nodes, one core each"] == needs["Redis shards"] == needs["publishers"] == 1
    assert needs["RabbitMQ nodes, 4 cores each"] == 1


def test_idle_connections_ask_for_nodes_by_their_number():
    assert numbers(1_800_000, 0)["nodes, one core each"] == 100
    assert numbers(1_800_001, 0)["nodes, one core each"] == 101


def test_pushes_ask_for_nodes_by_cpu():
    few, many = (numbers(10_000, pushes)["nodes, one core each"] for pushes in (10_000, 400_000))
    assert many > few


def test_memory_of_a_node_grows_with_its_connections():
    assert numbers(18_000, 0)["MB of memory a node"] > numbers(1_000, 0)["MB of memory a node"]


def test_busier_cores_need_fewer_nodes():
    idle, busy = (numbers(1000, 200_000, load=load)["nodes, one core each"] for load in (0.25, 1.0))
    assert busy < idle


def test_registry_is_split_by_memory():
    assert numbers(50_000_000, 0)["Redis shards"] == 3


def test_misses_that_fill_every_node_are_refused():
    with pytest.raises(ValueError, match="find nobody"):
        plan(1000, 1_000_000, misses=1.0)
