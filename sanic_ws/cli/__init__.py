"""The command line: ``sanic-ws dev | serve | push | listen | nodes | kick | drain | check | plan``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sanic_ws import __version__
from sanic_ws.cli.common import EXIT_UNAVAILABLE, EXIT_USAGE, err, out
from sanic_ws.cli.listening import listen
from sanic_ws.cli.listing import nodes
from sanic_ws.cli.operating import drain, kick
from sanic_ws.cli.planning import plan
from sanic_ws.cli.pushing import push
from sanic_ws.cli.serving import check, dev, serve
from sanic_ws.errors import InvalidField, SanicWsError

app = typer.Typer(
    help="WebSocket push gateway with node-affinity routing and truthful receipts.",
    epilog="Exit codes: 0 done; 1 asked, and not done (not delivered, no such connection or node); 2 wrong "
    "arguments or settings; 3 nobody could be asked, or the connection was closed; 130 Ctrl-C. Colours only "
    "on a terminal, and never with NO_COLOR.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (dev, serve, push, listen, nodes, kick, drain, check, plan):
    app.command()(command)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """WebSocket push gateway with node-affinity routing and truthful receipts."""
    if show:
        out.print(__version__)
        raise typer.Exit


def main() -> None:
    """Run a command; a wrong setting or argument is one line on standard error and exit code 2."""
    try:
        app()
    except InvalidField as exc:
        err.print(f"sanic-ws: {exc}", style="red", markup=False)
        sys.exit(EXIT_USAGE)
    except SanicWsError as exc:
        err.print(f"sanic-ws: {exc}", style="red", markup=False)
        sys.exit(EXIT_UNAVAILABLE)
