"""Options that commands share: the project, datasets, features, splits, formats, ids."""

import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from earshot.errors import ParameterError
from pipeline.base.project import Project
from pipeline.base.proxy import use_proxy
from pipeline.datasets.dataset import find_own_tables
from pipeline.datasets.dataset import names as dataset_names

FORMATS = ("table", "csv", "json")
FILE = click.Path(path_type=Path)  # a path, which need not be there


def find_root(context: click.Context) -> Path:
    """Return the checkout that ``--root`` names."""
    return Path(context.find_root().params.get("root") or ".")


def pass_project(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command's function the checkout of ``--root`` as its first argument."""

    @functools.wraps(function)
    @click.pass_context
    def call(context: click.Context, /, *args: Any, **kwargs: Any) -> int:
        # Other code than a shell hands over the project itself.
        is_loaded = isinstance(context.obj, Project)
        project = context.obj if is_loaded else Project.load(find_root(context))
        with use_proxy(project.proxy):
            return function(project, *args, **kwargs)

    return call


class IdCommand(click.Command):
    """A command that takes ids, and many of YouTube's begin with ``-``.

    No command has short options of more than one letter, so ``-abc`` is an id.
    """

    def parse_args(self, context: click.Context, words: list[str]) -> list[str]:
        """Read the words of the command line."""
        with_value = {
            name
            for option in self.params
            if isinstance(option, click.Option) and not option.is_flag
            for name in option.opts
        }
        return super().parse_args(context, protect_ids(words, with_value))


def protect_ids(words: Sequence[str], options_with_value: Collection[str]) -> list[str]:
    """Move ids that begin with ``-`` behind a ``--``, where they are no options.

    Args:
        words: of the command line.
        options_with_value: the word after one of these is its value, whatever it looks like.
    """
    options: list[str] = []
    ids: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            ids += rest
        elif word in options_with_value:
            # The word after such an option is its value, whatever it begins with.
            options += [word, *itertools.islice(rest, 1)]
        elif len(word) > 2 and word[0] == "-" and word[1] != "-":
            # `-q` is an option; no id has so few characters.
            ids.append(word)
        else:
            options.append(word)
    return [*options, "--", *ids] if ids else options


# What a shell proposes when somebody presses Tab.


def _complete_dataset(context: click.Context, _: click.Parameter, start: str) -> list[str]:
    listed = (path.name for path in (find_root(context) / "manifests").glob("*/"))
    return sorted(name for name in {*dataset_names(), *listed} if name.startswith(start))


def _complete_feature(context: click.Context, _: click.Parameter, start: str) -> list[str]:
    from pipeline.features.registry import FEATURES

    cached = (path.parent.name for path in (find_root(context) / "cache").glob("*/*/index.parquet"))
    return sorted(name for name in {*FEATURES, *cached} if name.startswith(start))


def _complete_reason(_: click.Context, __: click.Parameter, start: str) -> list[str]:
    from pipeline.downloads.account.reasons import REASONS

    return sorted(name for name in REASONS if name.startswith(start))


dataset_option = click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="NAME",
    shell_complete=_complete_dataset,
    help="only this dataset (can be repeated; default: all there are)",
)
chosen_dataset_option = click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="NAME",
    shell_complete=_complete_dataset,
    help="only this dataset (can be repeated; default: those of params.yaml)",
)
one_dataset_option = functools.partial(
    click.option, "--dataset", metavar="NAME", shell_complete=_complete_dataset
)
dataset_argument = click.argument("dataset", metavar="DATASET", shell_complete=_complete_dataset)
feature_option = click.option(
    "--feature",
    "features",
    multiple=True,
    metavar="NAME",
    shell_complete=_complete_feature,
    help="only this feature, or a variant such as spectrograms-lvs (can be repeated; default: all)",
)
reason_option = functools.partial(
    click.option,
    "--reason",
    "reasons",
    multiple=True,
    metavar="REASON",
    shell_complete=_complete_reason,
)
split_option = functools.partial(click.option, "--split", "splits", multiple=True, metavar="SPLIT")
format_option = click.option(
    "--format",
    "output_format",
    type=click.Choice(FORMATS),
    default="table",
    help="how rows are printed (default: table)",
)
dry_run_option = functools.partial(click.option, "--dry-run", "is_dry_run", is_flag=True)
quiet_option = functools.partial(click.option, "--quiet", "is_quiet", is_flag=True)


def has_tables(project: Project, dataset: str) -> bool:
    """Return whether there is a folder for the tables of a dataset."""
    # By the names that are there: `..` and the empty name are folders, too, and none of a dataset.
    folders = (project.root / "manifests").glob("*/")
    return dataset in {path.name for path in folders}


def selected_datasets(project: Project, names: Sequence[str]) -> list[str]:
    """Return the datasets that ``--dataset`` names; without it all that there are.

    Those are the datasets of params.yaml and all others that have a list.

    Raises:
        ParameterError: there is no dataset of that name.
    """
    # A dataset without code here is accepted as well, if its tables are there.
    known = (*dataset_names(), *find_own_tables(project.params))
    for name in names or project.datasets:
        if name not in known and not has_tables(project, name):
            where = "--dataset is" if names else "params: datasets has"
            raise ParameterError(f"{where} {name!r}, expected one of {', '.join(known)}")

    # A name that was given twice counts once.
    if names:
        return list(dict.fromkeys(names))

    # Datasets that params.yaml does not select now can still have a list and clips.
    others = [name for name in known if project.clips_table_path(name).exists()]
    return list(dict.fromkeys([*project.datasets, *others]))


def require_known_splits(
    names: Iterable[str], project: Project, dataset_names: Iterable[str], *, option: str
) -> None:
    """Refuse a split that none of the datasets has.

    A mistyped split selects nothing, and an empty result would look like good news.

    Args:
        names: the splits.
        project: the checkout.
        dataset_names: the datasets; those without a list are ignored.
        option: for the message.

    Raises:
        ParameterError: no dataset has the split.
    """
    import pyarrow.compute as pc  # only commands with such an option need it

    from earshot.tables import CLIPS, read_table

    names = list(names)
    paths = [path for name in dataset_names if (path := project.clips_table_path(name)).exists()]
    if not names or not paths:  # without any list the command itself says so
        return

    # One dataset with the split is enough: commands look at several datasets at once.
    tables = [read_table(path, CLIPS, columns=["splits"]) for path in paths]
    known = {
        split
        for table in tables
        for split in pc.unique(pc.list_flatten(table["splits"])).to_pylist()
    }

    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise ParameterError(f"{option} is {unknown!r}, expected one of {', '.join(sorted(known))}")
