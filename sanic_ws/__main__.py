"""Run the command line: ``python -m sanic_ws``."""

from __future__ import annotations

from sanic_ws.cli import main

if __name__ == "__main__":
    main()
