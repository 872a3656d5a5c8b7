"""What README shows: its code blocks, as they stand there."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLES = ROOT / "tests" / "integration" / "examples"


class Block(NamedTuple):
    """A code block: its language, the heading that it is under, and its text."""

    language: str
    heading: str
    text: str


def read_blocks(text: str = README) -> list[Block]:
    """Return all code blocks that have a language, in their order."""
    blocks, heading = [], ""
    for part in re.finditer(r"^#+ ([^\n]+)$|^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        title, language, code = part.groups()
        heading = title or heading
        if language:
            blocks.append(Block(language, heading, code))
    return blocks


def blocks_of(language: str) -> list[Block]:
    """Return the code blocks of a language."""
    return [block for block in read_blocks() if block.language == language]


def example_of(block: Block) -> Path | None:
    """Return the file of the examples that has a block's text, if one has."""
    return next((path for path in sorted(EXAMPLES.iterdir()) if block.text in read(path)), None)


def read(path: Path) -> str:
    """Return a file's text, or nothing of a folder."""
    return path.read_text("utf-8") if path.is_file() else ""
