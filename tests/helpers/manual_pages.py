"""The code blocks and commands of README and docs, as a reader of the pages sees them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from markdown_it import MarkdownIt

from tests.helpers.paths import ROOT

# An indented block has no language: it holds commands.
COMMANDS = "sh"
# What a command begins with.
PROGRAMS = (
    "cp",
    "dvc",
    "earshot",
    "export",
    "git",
    "hf",
    "jupyter",
    "make",
    "pip",
    "python",
    ".venv/bin/python",
    "sbatch",
    "source",
    "srun",
    "tensorboard",
    "torchrun",
    "uv",
    "wandb",
)
_MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A code block of a page."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Return where it is, for messages."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command line, in a block or in a sentence."""

    place: str
    words: tuple[str, ...]
    is_mention: bool = False  # in a sentence, where the arguments may be left out


def list_pages() -> list[str]:
    """Return the pages, as paths below the root."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in paths)


def read_blocks(page: str) -> list[Block]:
    """Return the code blocks of a page."""
    return [
        Block(page, token.map[0] + 1, token.info.strip() or COMMANDS, token.content)
        for token in _MARKDOWN.parse((ROOT / page).read_text())
        if token.type in ("fence", "code_block")
    ]


def read_commands(page: str) -> list[Command]:
    """Return the commands of a page's blocks, and those within its sentences."""
    commands = []
    for block in read_blocks(page):
        if block.language == COMMANDS:
            for number, line in _join_lines(block.text):
                words = _split(line)
                if words:
                    commands.append(Command(f"{page}:{block.line + number}", words))

    for token in _MARKDOWN.parse((ROOT / page).read_text()):
        for part in token.children or ():
            words = part.content.split() if part.type == "code_inline" else []
            is_command = len(words) > 1 and words[0] in PROGRAMS and words[1] != "<-"
            if is_command and words[0] != "export":  # also a command of Earshot
                line = token.map[0] + 1 if token.map else 0
                commands.append(Command(f"{page}:{line}", _split(part.content), is_mention=True))
    return commands


def _join_lines(text: str) -> Iterator[tuple[int, str]]:
    """Return each command with the number of its first line; ``\\`` continues a line."""
    start, whole = 0, ""
    for number, line in enumerate(text.splitlines()):
        start = number if not whole else start
        whole += line.removesuffix("\\")
        if not line.endswith("\\"):
            yield start, whole
            whole = ""


def _split(line: str) -> tuple[str, ...]:
    """Return the words of a command as somebody would type them.

    ``[--option A|B]`` is optional and means one of several words; the first one is taken. ``...``
    says that a word can be repeated.
    """
    words = []
    for word in shlex.split(line, comments=True):
        is_quoted = f"'{word}'" in line
        if not is_quoted:
            word = re.sub(r"^\[|\]$", "", word) if word.count("[") != word.count("]") else word
            word = re.sub(r"^\[(.*)\]$", r"\1", word)
            word = word.removesuffix("...").partition("|")[0]
        if word:
            words.append(word)
    return tuple(words)
