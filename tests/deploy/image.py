"""What a container of the image runs, with the environment that the chart's pod gives it."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.deploy.chart import ROOT, Object, only
from tests.leaks import note_settings
from tests.servers import GatewayNode

BIN = Path(sys.executable).parent


def instructions(name: str) -> list[str]:
    """Return what follows an instruction of the last stage."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    stage = text[text.rindex("\nFROM ") :]
    return re.findall(rf"^{name} (.*)$", stage, re.MULTILINE)


def command(text: str) -> list[str]:
    """Return a command in exec form with the programs of this virtual environment."""
    program, *arguments = json.loads(text[text.index("[") :])
    return [str(BIN / program), *arguments]


def image_env() -> dict[str, str]:
    (line,) = instructions("ENV")
    pairs = dict(pair.split("=", 1) for pair in line.split())
    del pairs["PATH"]
    return pairs


class Container(GatewayNode):
    """A node as the chart's pod runs it: the image's command and environment, the pod's on top.

    Args:
        name: the pod's.
        objects: what helm would install.
        secrets: what the pod's Secret holds.
    """

    def __init__(self, name: str, objects: list[Object], secrets: Mapping[str, str]) -> None:
        super().__init__("serve", name=name)
        spec = only(objects, "Deployment")["spec"]["template"]["spec"]
        self.grace_s: int = spec["terminationGracePeriodSeconds"]
        (self.spec,) = spec["containers"]
        config = next(each for each in objects if each["metadata"]["name"] == "sanic-ws" and "data" in each)
        env = image_env() | config["data"] | dict(secrets)
        for each in self.spec["env"]:
            env[each["name"]] = each.get("value", name)
        self._env = env | {"SANIC_WS_PORT": str(self.port)}
        note_settings(self._env)

    def _command(self) -> Sequence[str]:
        (entry,) = instructions("ENTRYPOINT")
        return [*command(entry), *self.spec["args"]]
