"""Runs Redis, RabbitMQ and gateway nodes on this machine until interrupted; started by `scripts/cluster`."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.servers import GatewayNode, RabbitServer, RedisServer, Server, ServerError, port_is_free, tail

EXAMPLES = """
Try, each in a terminal of its own, in this folder:

  .venv/bin/sanic-ws listen --url {ws_url} --sign demo

  curl -s -X POST {url}/api/v1/push -H 'Content-Type: application/json' \\
    -d '{{"to":{{"conn":"demo"}},"type":"hello","data":{{"n":1}}}}'

  export SANIC_WS_REDIS_URL={redis_url} SANIC_WS_AMQP_URL={amqp_url}
  .venv/bin/sanic-ws push --conn demo --type hello --data '{{"n":2}}'

Or look at two users on two nodes: {url}/demo

Ctrl-C stops everything."""


def main() -> int:
    """Run the cluster; return the exit code."""
    options = parse_options()
    ports = range(options.first_port, options.first_port + options.nodes)
    if taken := [port for port in ports if not port_is_free(port)]:
        print(
            f"Not free: port {', '.join(map(str, taken))}. Choose others with --first-port.", file=sys.stderr
        )
        return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        with ExitStack() as stack:
            return run(stack, ports)
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/cluster")
    parser.add_argument("nodes", nargs="?", type=int, default=3)
    parser.add_argument("--first-port", type=int, default=8001)
    options = parser.parse_args()
    if options.nodes < 1 or not 0 < options.first_port <= 65536 - options.nodes:
        parser.error("at least one node, and ports from 1 to 65535")
    return options


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """Leave in the orderly way; a second signal leaves at once, and the guard process ends what is left."""
    raise KeyboardInterrupt


def run(stack: ExitStack, ports: Sequence[int]) -> int:
    """Start everything, in parallel where possible, and watch it; `stack` stops it."""
    print("Starting Redis and RabbitMQ …", flush=True)
    redis, rabbit = RedisServer(), RabbitServer()
    start(stack, [redis, rabbit])
    print(f"Starting {len(ports)} nodes …", flush=True)
    settings = {key: value for key, value in os.environ.items() if key.startswith("SANIC_WS_")}
    settings |= {"SANIC_WS_REDIS_URL": redis.url, "SANIC_WS_AMQP_URL": rabbit.url}
    nodes = [make_node(number, port, settings) for number, port in enumerate(ports, 1)]
    start(stack, nodes)
    for node in nodes:
        print(f"  {node.name}  {node.url}")
    print(
        EXAMPLES.format(
            ws_url=nodes[0].ws_url, url=nodes[1 % len(nodes)].url, redis_url=redis.url, amqp_url=rabbit.url
        )
    )
    sys.stdout.flush()
    return watch([redis, rabbit, *nodes])


def make_node(number: int, port: int, settings: Mapping[str, str]) -> GatewayNode:
    """Describe a node of the cluster."""
    name = f"node{number}"
    return GatewayNode("dev", name=name, port=port, env={**settings, "SANIC_WS_NODE_NAME": name})


def start(stack: ExitStack, servers: Sequence[Server]) -> None:
    """Start servers side by side; when the stack closes, all are told to leave before any is waited for."""
    stack.callback(stop, servers)
    for server in servers:
        server.spawn()
    for server in servers:
        server.wait_ready()


def stop(servers: Sequence[Server]) -> None:
    """Stop servers side by side."""
    for server in servers:
        server.terminate()
    for server in servers:
        server.stop()


def watch(servers: Sequence[Server]) -> int:
    """Wait until a server ends by itself; return the exit code."""
    while True:
        for server in servers:
            if not server.running:
                print(
                    f"{server.name} ended; stopping the others. Its log ends with:\n{tail(server.log)}",
                    file=sys.stderr,
                )
                return 1
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
