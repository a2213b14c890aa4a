"""Where the files of a checkout are, and its params.yaml.

No other module of the library builds the path of a data folder.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from earshot.errors import ParameterError
from pipeline.base.local_settings import (
    LocalSettings,
    find_home,
    read_local_settings,
    require_no_secrets,
)
from pipeline.base.parameters import build, read_yaml, require_distinct, suggest

_Parameters = TypeVar("_Parameters")


def _name_checkout(folder: Path) -> str:
    """Say which checkout a folder lies in, or how to name one."""
    for parent in folder.parents:
        if (parent / "params.yaml").is_file() and (parent / "dvc.yaml").is_file():
            return f"which is {parent}"
    return "or name it: `earshot --root FOLDER COMMAND`"


@dataclass(frozen=True)
class Project:
    """A checkout of Earshot, or a copy of its data folders, with its parameters.

    Attributes:
        root: The folder of the checkout.
        params: What params.yaml holds. There is no secret in it, so it may be printed.
        local: What belongs to this user and this machine. It is never printed.
    """

    root: Path
    params: dict[str, Any]
    local: LocalSettings = field(default_factory=LocalSettings)

    @classmethod
    def load(
        cls, root: Path | str = ".", *, environment: Mapping[str, str] = os.environ
    ) -> "Project":
        """Read ``root/params.yaml``, and the settings of this user and this machine.

        Args:
            root: The root of a checkout.
            environment: The environment variables; some of them are settings, too.

        Raises:
            ParameterError: params.yaml is absent, is not YAML with sections, or holds a secret; or
                params.local.yaml is wrong.
        """
        # Absolute, so that nothing moves when the working directory changes.
        root = Path(root).resolve()
        path = root / "params.yaml"
        try:
            params = read_yaml(path)
        except FileNotFoundError:
            raise ParameterError(
                f"{path}: not found; run from the root of a checkout of Earshot, "
                f"{_name_checkout(root)}"
            ) from None

        if not isinstance(params, dict):
            content = "is empty" if params is None else f"holds {type(params).__name__}"
            raise ParameterError(f"{path}: {content}, expected sections")
        require_no_secrets(params, path)

        # DVC copies a checkout for an experiment, without the files that Git ignores.
        return cls(root, params, read_local_settings(find_home(root), environment))

    # Parameters.

    @property
    def datasets(self) -> list[str]:
        """Names of the datasets that params.yaml selects."""
        return self.names("datasets")

    @property
    def first_dataset(self) -> str:
        """Name of the first dataset of params.yaml, which stands for all where one is needed.

        Raises:
            ParameterError: There is none.
        """
        if not self.datasets:
            raise ParameterError("params: datasets is [], expected at least one")
        return self.datasets[0]

    @property
    def runs(self) -> list[str]:
        """Names of the evaluated runs: those trained here (``models``), then ``released``."""
        names = [*self.names("models"), *self.names("released")]
        require_distinct(names, "models and released together")
        return names

    def section(self, dotted_name: str) -> Any:
        """Return the raw value of a section such as ``sources.local``.

        Raises:
            ParameterError: params.yaml has no such section.
        """
        value: Any = self.params
        for name in dotted_name.split("."):
            if not isinstance(value, dict) or name not in value:
                known = value if isinstance(value, dict) else ()
                raise ParameterError(f"params: missing section {dotted_name}{suggest(name, known)}")
            value = value[name]
        return value

    def parameters(self, cls: type[_Parameters], dotted_name: str) -> _Parameters:
        """Return the parameter dataclass ``cls`` with the values of a section.

        Settings of this user and this machine take precedence over params.yaml. Relative paths
        begin at the checkout, wherever the program runs.

        Args:
            cls: The dataclass.
            dotted_name: The section, for example ``sources.flickr``.

        Raises:
            ParameterError: The section is missing, or its values do not fit ``cls``.
        """
        values = self.section(dotted_name)
        if dotted_name == "download" and isinstance(values, Mapping):
            # What the user does not set keeps the value of params.yaml.
            own = {key: value for key, value in asdict(self.local.download).items() if value}
            values = {**values, **own}

        return build(cls, values, dotted_name, folder=find_home(self.root))

    @property
    def proxy(self) -> str | None:
        """The proxy of all requests: of this user, else of params.yaml; None: the system's.

        Raises:
            ParameterError: params.yaml has something else than an address. The message hides it.
        """
        section = self.params.get("download")
        of_all = section.get("proxy") if isinstance(section, Mapping) else None
        if not isinstance(of_all, str | None):
            raise ParameterError("params: download.proxy is a value of another kind, expected str")
        return self.local.download.proxy or of_all

    def names(self, key: str) -> list[str]:
        """Return the list of names at a dotted key.

        Raises:
            ParameterError: There is no such key, or it holds something else.
        """
        names = self.section(key)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ParameterError(
                f"params: {key} is {names!r}, expected a list of names, for example [sample]"
            )

        require_distinct(names, key)
        return list(names)

    # Tables of a dataset.

    def manifests_dir(self, dataset: str) -> Path:
        """Return the folder of the tables."""
        return self.root / "manifests" / dataset

    def clips_table_path(self, dataset: str) -> Path:
        """Return the path of the table of clips: which media the dataset has."""
        return self.manifests_dir(dataset) / "clips.parquet"

    def samples_table_path(self, dataset: str) -> Path:
        """Return the path of the table of samples: moments of clips, with labels and boxes."""
        return self.manifests_dir(dataset) / "samples.parquet"

    def downloads_table_path(self, dataset: str) -> Path:
        """Return the path of the table of downloads: what became of each clip."""
        return self.manifests_dir(dataset) / "downloads.parquet"

    # Data of a dataset.

    def dataset_cache_dir(self, dataset: str) -> Path:
        """Return the folder of everything that is cached for a dataset."""
        return self.root / "cache" / dataset

    def find_indexes(self, dataset: str) -> list[Path]:
        """Return the index of each feature that is cached for a dataset, by the names."""
        return sorted(self.dataset_cache_dir(dataset).glob("*/index.parquet"))

    @property
    def storage_dir(self) -> Path:
        """The folder of what no experiment may lose or compute twice.

        It holds sources, clips, ledgers, stores, weights and trainings. Experiments of a checkout
        share it.
        """
        home = find_home(self.root)
        # An absolute path replaces what it is joined to.
        return home / os.path.expanduser(self.local.storage or "cache")

    def sources_dir(self, dataset: str) -> Path:
        """Return the folder of what a list is made from: fetched lists, archives, joined videos.

        Clips have ``file://`` addresses there, so it must outlive the copy of an experiment.
        """
        return self.storage_dir / dataset

    def hub_dir(self, dataset: str) -> Path:
        """Return the folder of files of the Hugging Face hub from which clips are imported."""
        return self.storage_dir / dataset / "hub"

    def ledger_path(self, dataset: str) -> Path:
        """Return the path of the log of download attempts. It must survive every rerun of DVC."""
        return self.storage_dir / dataset / "attempts.jsonl"

    def ledger_copy_path(self, dataset: str) -> Path:
        """Return the path of the ledger's copy, which is a DVC output and travels."""
        return self.dataset_cache_dir(dataset) / "ledger.jsonl.gz"

    def clips_dir(self, dataset: str) -> Path:
        """Return the folder of the downloaded media files."""
        return self.storage_dir / dataset / "clips"

    def feature_dir(self, dataset: str, feature: str) -> Path:
        """Return the folder of a feature's index and shards, which is a DVC output."""
        return self.dataset_cache_dir(dataset) / feature

    def store_dir(self, dataset: str, feature: str) -> Path:
        """Return the folder of immutable shards, to which the feature folder has hard links."""
        return self.storage_dir / dataset / "store" / feature

    # Data of models.

    @property
    def weights_dir(self) -> Path:
        """Weights that were trained elsewhere, as fetched."""
        return self.storage_dir / "weights"

    @property
    def training_dir(self) -> Path:
        """Unfinished and finished trainings by run. No DVC output: a killed training resumes."""
        return self.storage_dir / "training"

    @property
    def neighbours_dir(self) -> Path:
        """Lists of the nearest clips of training splits, by their key."""
        return self.storage_dir / "neighbours"

    @property
    def run_inputs_dir(self) -> Path:
        """What each run reads, a file for each."""
        return self.root / "cache" / "inputs"

    def run_inputs_path(self, model: str) -> Path:
        """Return the path of the file that says what a run reads."""
        return self.run_inputs_dir / f"{model}.json"

    def run_dir(self, model: str) -> Path:
        """Return the folder of a model that can be evaluated: trained here or released."""
        return self.root / "cache" / "runs" / model

    @property
    def maps_root_dir(self) -> Path:
        """Localization maps of all datasets, a folder for each."""
        return self.root / "cache" / "maps"

    def maps_dir(self, dataset: str) -> Path:
        """Return the folder of a dataset's localization maps."""
        return self.maps_root_dir / dataset

    def maps_path(self, dataset: str, model: str) -> Path:
        """Return the path of the localization maps that a model made for a dataset."""
        return self.maps_dir(dataset) / f"{model}.npz"

    # Reports.

    @property
    def reports_dir(self) -> Path:
        """The report, and the numbers and curves that DVC shows."""
        return self.root / "reports"

    def curves_dir(self, model: str) -> Path:
        """Return the folder of a training's metrics by epoch, as DVC plots them."""
        return self.reports_dir / "training" / model
