"""The settings of a training run.

``TrainingParameters`` says what the experiment is. Each method's ``Parameters`` extends it.
``HardwareParameters`` says where and how fast it runs: another machine makes no other experiment.
``MonitoringParameters`` says who watches it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from earshot.errors import ParameterError
from train.networks.encoders.image_encoder import FULL_WIDTH, MAP_STRIDES

# Short side and crop, in pixels, of the published training crop. Smaller inputs keep the ratio.
PUBLISHED_SHORT_SIDE, PUBLISHED_CROP = 246, 224


@dataclass(frozen=True, kw_only=True)
class TrainingParameters:
    """What a training run depends on. The defaults are what the published methods share."""

    method: str

    # --- data
    train_split: str = "train"
    val_split: str = "val"
    # training samples, chosen by video, that replace a val split without samples
    num_held_out: int = 500
    test_split: str = "test"

    # --- network
    backbone: str = "resnet18"  # of torchvision, or timm/NAME
    width: int = FULL_WIDTH  # channels of the first ResNet stage; 64 as published, 16 for CPUs
    audio_width: int = 0  # the same of the audio encoder; 0: as width
    map_stride: int = 32  # input pixels a map cell: 32, 16 or 8
    image_size: int = 224
    # first weights: imagenet, random, or the path of torchvision's weights (vision encoder), of the
    # folder of a run with the same network (all), or for rcgrad and flowgrad_* of a trained RCGrad
    # or its run folder (both encoders)
    init: str = "imagenet"

    # --- optimization
    batch_size: int = 128  # of all processes together
    accumulate: int = 1  # batches before an optimizer step; their negatives stay apart
    epochs: int = 100
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "plateau"] = "constant"
    warmup_epochs: float = 0.0
    plateau_factor: float = 0.1
    plateau_patience: int = 5
    plateau_floor: float = 0.0  # no plateau lowers the learning rate below it
    # epochs without a better selection score (with select_on last: validation loss) before training
    # stops; 0: never
    early_stop_patience: int = 0
    gradient_clip: float = 0.0  # largest norm of the gradient; 0: no limit
    is_shuffled: bool = True
    has_random_crop: bool = True
    has_flip: bool = True
    # with several processes: the negatives of the whole batch, or each process's own
    negatives: Literal["gathered", "local"] = "gathered"
    # the split whose score chooses the epoch that is kept; last: none
    select_on: Literal["val", "test", "last"] = "val"
    # the score that compares epochs. adaptive_ciou: its mean, or minus the loss where the split has
    # no boxes. ezvsl_val, htf: the success rate in these authors' training. loss: minus the loss
    select_by: Literal["adaptive_ciou", "ezvsl_val", "htf", "loss"] = "adaptive_ciou"

    # --- data as the network reads it
    spectrogram_mean: float = 0.0  # the network reads (cached spectrogram - mean) / std
    spectrogram_std: float = 1.0
    spectrogram_pooling: int = 1  # bins and frames averaged into one; 1 as published
    # of the audio encoder's last stage; max as published
    audio_pooling: Literal["max", "mean"] = "max"

    seed: int = 0

    def __post_init__(self) -> None:
        self._require_ranges()

        if self.map_stride not in MAP_STRIDES:
            raise ValueError(
                f"map_stride ({self.map_stride}) must be one of {', '.join(map(str, MAP_STRIDES))}"
            )

        for name in ("width", "audio_width"):
            if getattr(self, name) % 4:
                raise ValueError(f"{name} ({getattr(self, name)}) must be a multiple of 4")

        # The feature map needs at least one cell.
        if self.image_size < self.map_stride:
            raise ValueError(
                f"image_size ({self.image_size}) must be >= map_stride ({self.map_stride})"
            )

        if self.batch_size < 2:
            raise ValueError("batch_size (1) must be >= 2: a contrastive loss needs negatives")

    def _require_ranges(self) -> None:
        positive = (
            "width",
            "image_size",
            "batch_size",
            "accumulate",
            "epochs",
            "learning_rate",
            "plateau_factor",
            "spectrogram_std",
            "spectrogram_pooling",
        )
        for name in positive:
            if not getattr(self, name) > 0:  # also refuses NaN
                raise ValueError(f"{name} ({getattr(self, name)}) must be > 0")

        # Zero is a value here: none, never, or for `audio_width` the same as `width`.
        not_negative = (
            "weight_decay",
            "warmup_epochs",
            "early_stop_patience",
            "gradient_clip",
            "seed",
            "audio_width",
            "num_held_out",
            "plateau_patience",
            "plateau_floor",
        )
        for name in not_negative:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be >= 0")

    def list_sources(self) -> tuple[str, ...]:
        """Return what the training begins with: files, run folders, or ``imagenet``, ``random``."""
        return (self.init,)

    def name_variant(self) -> str:
        """Name the method in results: a variant with another name of its own, or the method."""
        return self.method

    @property
    def short_side(self) -> int:
        """Short side in pixels to which a frame is resized before the square is cropped."""
        # Without a random crop the square is the middle of the frame, with nothing left over.
        if not self.has_random_crop:
            return self.image_size
        return round(self.image_size * PUBLISHED_SHORT_SIDE / PUBLISHED_CROP)


@dataclass(frozen=True, kw_only=True)
class HardwareParameters:
    """Where and how fast a run computes.

    Precision, processes, threads and memory layout change the losses: at least the order of sums.
    """

    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    # processes on this machine; 0: as many as srun or torchrun started, else one for each GPU, or
    # one on a CPU
    devices: int = 0
    num_nodes: int = 1
    # of torch on a CPU, in each process; 0: torch's choice, shared by the processes
    num_threads: int = 0
    # auto: bf16 on a GPU, float32 on a CPU
    precision: Literal["auto", "float32", "float64", "bf16"] = "auto"
    is_channels_last: bool = True  # networks narrower than eight channels never are
    is_compiled: bool = False
    is_deterministic: bool = False
    num_workers: int = -1  # loader processes; -1: none on a CPU, eight a GPU
    # data that fit are read once and kept in memory; 0: always read from the shards
    memory_limit_mb: int = 1024
    checkpoint_every_seconds: float = 60.0  # between saved states of a running training

    def __post_init__(self) -> None:
        for name in ("devices", "num_threads", "memory_limit_mb", "checkpoint_every_seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be >= 0")
        if self.num_nodes < 1:
            raise ValueError(f"num_nodes ({self.num_nodes}) must be >= 1")


@dataclass(frozen=True, kw_only=True)
class MonitoringParameters:
    """Who watches a training, besides DVCLive. No weight and no key of a run depends on it."""

    # tensorboard, wandb (offline), or dotted names of classes of Lightning loggers; dvclive is
    # always there
    loggers: tuple[str, ...] = ()
    # dotted names of classes of Lightning callbacks, or of functions that make one
    callbacks: tuple[str, ...] = ()


def require_trained(parameters: TrainingParameters, *, is_frozen: bool) -> None:
    """Raise ``ValueError`` where a frozen vision encoder would keep random weights."""
    if is_frozen and parameters.init == "random":
        raise ValueError(
            "freeze_vision with init random would keep an untrained vision encoder; set one of them"
        )


def require_known(name: str, known: Collection[str], what: str) -> None:
    """Raise ``ParameterError`` unless ``name`` is one of ``known``; ``what`` is its kind."""
    if name not in known:
        raise ParameterError(f"unknown {what} {name!r}; known: {', '.join(known)}")
