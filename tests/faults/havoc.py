"""Carries out a schedule of faults on a cluster and its clients, and heals it again."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from tests.faults.clients import Fleet
from tests.faults.cluster import FaultCluster
from tests.faults.proxy import Proxies
from tests.faults.schedule import TRACKS, Step

# One that ends by itself just then is no error.
CLOSE_CONNECTIONS = (
    '[(catch rabbit_networking:close_connection(Pid, "test")) || Pid <- rabbit_networking:connections()]'
)


class Havoc:
    """Do to a cluster what a schedule says.

    Args:
        cluster, fleet: the victims.
        say: called with a line for each fault when it begins.
    """

    def __init__(self, cluster: FaultCluster, fleet: Fleet, say: Callable[[str], None]) -> None:
        self._say = say
        self._cluster = cluster
        self._fleet = fleet
        self._tracks: dict[str, Callable[[Step], Awaitable[None]]] = {
            "nodes": self._to_node,
            "redis": self._to_redis,
            "rabbit": self._to_rabbit,
            "clients": self._to_clients,
        }

    async def play(self, schedule: Sequence[Step]) -> None:
        """Carry the schedule out; what happens is said when it does."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for track in TRACKS:
                steps = [step for step in schedule if step.track == track]
                group.create_task(self._play_track(steps, began))

    async def _play_track(self, steps: Sequence[Step], began: float) -> None:
        for step in steps:
            await asyncio.sleep(max(0.0, began + step.at_s - time.monotonic()))
            now = time.monotonic()
            self._say(f"{now:9.3f}  {now - began:6.1f} s: {step}")
            await self._tracks[step.track](step)

    async def _to_node(self, step: Step) -> None:
        member = self._cluster.members[step.node]
        match step.name:
            case "kill":
                await member.kill()
                await asyncio.sleep(step.for_s)
                await member.start_anyhow()
                await member.came_back()
            case "leave":
                assert await member.leave() == 0, f"{member.node.name} did not leave with 0"
                await asyncio.sleep(step.for_s)
                await member.start_anyhow()
                await member.came_back()
            case "pause":
                member.pause()
                await asyncio.sleep(step.for_s)
                member.resume()
                await member.came_back()
            case "cut off":
                member.cut_off()
                await asyncio.sleep(step.for_s)
                await member.rejoin()
                await member.came_back()

    async def _to_redis(self, step: Step) -> None:
        cluster = self._cluster
        ways = cluster.all_redis if step.node is None else Proxies([cluster.members[step.node].redis])
        match step.name:
            case "flush":
                await cluster.command("FLUSHALL")
            case "kill connections":
                await cluster.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            case "kill":
                cluster.redis.kill()
                await asyncio.sleep(step.for_s)
                await asyncio.to_thread(cluster.redis.start)
            case _:
                await self._to_ways(ways, step, delay_s=0.05)

    async def _to_rabbit(self, step: Step) -> None:
        cluster = self._cluster
        ways = cluster.all_rabbit if step.node is None else Proxies([cluster.members[step.node].rabbit])
        if step.name == "close connections":
            await asyncio.to_thread(cluster.rabbit.ctl, "eval", f"{CLOSE_CONNECTIONS}.")
        else:
            await self._to_ways(ways, step, delay_s=0.3)

    @staticmethod
    async def _to_ways(ways: Proxies, step: Step, delay_s: float) -> None:
        match step.name:
            case "cut":
                ways.cut()
            case "half open":
                ways.half_open()
            case "black hole":
                ways.black_hole()
            case "delay":
                ways.delay(delay_s)
            case "refuse and cut":
                await ways.refuse()
                ways.cut()
        if step.for_s:
            await asyncio.sleep(step.for_s)
            await ways.pass_on()

    async def _to_clients(self, step: Step) -> None:
        chance = random.Random(step.seed)
        clients = [client for client in self._fleet.clients.values() if client.connected]
        match step.name:
            case "storm":
                for client in chance.sample(clients, len(clients) // 3):
                    client.drop()
            case "move":
                moving = chance.sample(clients, len(clients) // 10)
                await asyncio.gather(*(c.move(chance.choice(self._fleet.addresses)) for c in moving))
            case "stop reading":
                stuck = chance.sample(clients, len(clients) // 20)
                for client in stuck:
                    client.stop_reading()
                await asyncio.sleep(step.for_s)
                for client in stuck:
                    client.read_again()
