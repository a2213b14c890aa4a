"""The command line ``earshot COMMAND``: all its commands, and how each one ends."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from earshot.errors import EarshotError
from earshot.upper_rooms import import_room
from pipeline.base.os_errors import escape_unprintable, report_error

_COMPLETION = "_EARSHOT_COMPLETE"  # a variable of the environment, which shells set


class LazyCommand(click.Command):
    """A command whose module is imported when the command is used.

    All modules together take longer to import than most commands run. So the line of help stands
    here, and the options in the module, at its click command ``run``.
    """

    def __init__(self, name: str, module: str, about: str) -> None:
        super().__init__(name, help=about, short_help=about)
        self._module = module

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> click.Context:
        """Import the command and read its options."""
        # Only now, because `earshot --help` must list all commands without importing them.
        command: click.Command = import_room(self._module).run
        command.help = self.help
        return command.make_context(info_name, args, parent, **extra)


class OrderedGroup(click.Group):
    """A group that lists its commands in the order in which they were written down."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(self.commands)


COMMANDS = (
    LazyCommand(
        "use",
        "pipeline.commands.use",
        "write the parameters of a published result into params.yaml",
    ),
    LazyCommand(
        "plan",
        "pipeline.commands.plan",
        "say what a dataset or recipe takes: requests, hours, gigabytes, and what is there already",
    ),
    LazyCommand(
        "doctor",
        "pipeline.commands.doctor",
        "check ffmpeg, yt-dlp and its JavaScript runtime, disk, GPU, cluster and one canary a "
        "dataset; say what to do",
    ),
    LazyCommand(
        "status",
        "pipeline.commands.status",
        "a line a dataset and feature: requested, ok, missing, pending, cached, failed, bytes",
    ),
    LazyCommand(
        "missing",
        "pipeline.commands.missing",
        "which clips or samples are missing, why, permanent or worth a retry",
    ),
    LazyCommand(
        "retry",
        "pipeline.commands.retry",
        "attempt again the clips that a reason, dataset, split or id selects (then: dvc repro)",
    ),
    LazyCommand(
        "reclassify",
        "pipeline.commands.reclassify",
        "derive reasons anew from the raw texts of all attempts, without the network",
    ),
    LazyCommand(
        "import",
        "pipeline.commands.import_clips",
        "take clips from folders, archives or the Hugging Face hub instead of downloading them",
    ),
    LazyCommand(
        "export",
        "pipeline.commands.export",
        "write a dataset for others: WebDataset, a Hugging Face folder, or plain files",
    ),
    LazyCommand(
        "audit",
        "pipeline.commands.audit",
        "overlap between training and test splits, and coverage of the published test sets",
    ),
    LazyCommand(
        "verify",
        "pipeline.commands.verify",
        "recompute the checksums of cached features; names every damaged sample and exits 1",
    ),
    LazyCommand(
        "repair",
        "pipeline.commands.repair",
        "compute damaged shards again (those that verify finds); the same bytes where possible",
    ),
    LazyCommand(
        "prune",
        "pipeline.commands.prune",
        "remove cached shards that no index uses: of earlier parameters, and of clips that are "
        "gone",
    ),
    click.Group(
        "clips",
        [LazyCommand("drop", "pipeline.commands.clips", "remove the files of these clips")],
        short_help="clips drop: free the disk of the clips whose features are all cached",
        help="clips drop: free the disk of the clips whose features are all cached",
    ),
    LazyCommand(
        "show",
        "pipeline.commands.show",
        "draw one picture of a sample: frame with boxes, flow, spectrogram, maps, where it comes "
        "from",
    ),
    LazyCommand(
        "browse",
        "pipeline.commands.browse",
        "write a page of random samples of a split: frame, boxes, flow, spectrogram, sound",
    ),
    LazyCommand(
        "refresh",
        "pipeline.commands.refresh",
        "let the next `dvc repro` read files of your own again when they changed",
    ),
    LazyCommand("score", "eval.score", "score localization maps of any system"),
    LazyCommand(
        "localize", "train.localize", "draw where the sound comes from over your own videos"
    ),
    click.Group(
        "weights",
        [
            LazyCommand(
                "import",
                "train.import_weights",
                "turn a published checkpoint into a run folder, as of a training",
            )
        ],
        short_help="weights import: turn a published checkpoint into a run folder",
        help="weights import: turn a published checkpoint into a run folder",
    ),
)


@click.group(
    cls=OrderedGroup,
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Completion of words in the shell: see docs/commands.md",
)
@click.option(
    "--root", default=".", metavar="FOLDER", help="the checkout to work in (default: here)"
)
@click.pass_context
def earshot(context: click.Context, root: str) -> None:
    """See which clips and features are there, repair them, score and localize."""


def main(words: Sequence[str] | None = None, *, name: str = "earshot") -> int:
    """Run one command.

    Args:
        words: of the command line; None: those of this process.
        name: of the program, for messages.

    Returns:
        The exit code. An error has become one line on stderr.
    """
    if _COMPLETION in os.environ:  # a shell asks what could come next
        earshot.main(prog_name=name, complete_var=_COMPLETION)

    escape_unprintable()
    try:
        with earshot.make_context(name, list(sys.argv[1:] if words is None else words)) as context:
            return earshot.invoke(context) or 0
    except click.exceptions.Exit as done:  # `--help`
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        return _report_usage(error)
    except BrokenPipeError:
        # The reader of the output (`| head`) has closed it; nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (EarshotError, OSError) as error:
        return report_error(error)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        # 128 + SIGINT, as a shell reports it.
        return 130


def _report_usage(error: click.UsageError) -> int:
    """Print a mistake on the command line as one sentence, as other errors."""
    # Click begins with a capital and ends with a full stop. Our errors do neither.
    text = " ".join(error.format_message().split()).rstrip(".")
    where = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
    print(f"error: {text[0].lower()}{text[1:]}{where}", file=sys.stderr)
    return error.exit_code
