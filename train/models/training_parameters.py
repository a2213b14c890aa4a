"""What an experiment is (``TrainingParameters``) and where it runs (``HardwareParameters``).

Every model's own parameter class (``train/models/``) extends ``TrainingParameters``. What changes only speed is in
``HardwareParameters``, so that another machine does not make another experiment.
"""

from dataclasses import dataclass
from typing import Literal

from earshot.errors import ParameterError
from train.networks.encoders import FULL_WIDTH, MAP_STRIDES

PUBLISHED_CROP = (
    246,
    224,
)  # short side and crop in pixels of the published training crop; smaller inputs keep the ratio


@dataclass(frozen=True, kw_only=True)
class TrainingParameters:
    """Everything a training run depends on; defaults are what the published methods share."""

    method: str
    # data
    train_split: str = "train"
    val_split: str = "val"
    num_held_out: int = 500  # where the val split has no samples: so many training samples, by video, take its place
    test_split: str = "test"
    # network
    backbone: str = "resnet18"
    width: int = FULL_WIDTH  # channels of the first ResNet stage; 64 as published, 16 for CPUs
    audio_width: int = 0  # of the audio encoder; 0: as width
    map_stride: int = 32  # input pixels a map cell: 32, 16 or 8
    image_size: int = 224
    init: str = (
        "imagenet"  # of the vision encoder: imagenet, random, or the path of torchvision weights
    )
    # optimization
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
    early_stop_patience: int = (
        0  # epochs without a better selection score before stopping; 0 never stops
    )
    gradient_clip: float = 0.0  # largest norm of the gradient; 0 leaves it
    is_shuffled: bool = True
    has_random_crop: bool = True
    has_flip: bool = True
    negatives: Literal["gathered", "local"] = (
        "gathered"  # with several processes: all of the batch, or one's own
    )
    select_on: Literal["val", "test", "last"] = "val"
    # data as the network sees it
    spectrogram_mean: float = 0.0  # (cached spectrogram - mean) / std is what the network reads
    spectrogram_std: float = 1.0
    spectrogram_pooling: int = 1  # bins and frames averaged into one; 1 as published
    audio_pooling: Literal["max", "mean"] = (
        "max"  # of the audio encoder's last stage; max as published
    )
    seed: int = 0

    def __post_init__(self):
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
            if not getattr(self, name) > 0:  # nor NaN
                raise ValueError(f"{name} ({getattr(self, name)}) must be > 0")
        not_negative = (
            "weight_decay",
            "warmup_epochs",
            "early_stop_patience",
            "gradient_clip",
            "seed",
            "audio_width",
        )
        for name in (*not_negative, "num_held_out", "plateau_patience"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be >= 0")
        if self.map_stride not in MAP_STRIDES:
            raise ValueError(
                f"map_stride ({self.map_stride}) must be one of {', '.join(map(str, MAP_STRIDES))}"
            )
        for name in ("width", "audio_width"):
            if getattr(self, name) % 4:
                raise ValueError(f"{name} ({getattr(self, name)}) must be a multiple of 4")
        if self.image_size < self.map_stride:
            raise ValueError(
                f"image_size ({self.image_size}) must be >= map_stride ({self.map_stride})"
            )
        if self.batch_size < 2:
            raise ValueError("batch_size (1) must be >= 2: a contrastive loss needs negatives")

    @property
    def short_side(self) -> int:
        """Short side in pixels to which a frame is brought before ``image_size`` is cropped from it; without a random
        crop nothing is left over there, and the crop is the frame's middle."""
        if not self.has_random_crop:
            return self.image_size
        return round(self.image_size * PUBLISHED_CROP[0] / PUBLISHED_CROP[1])


@dataclass(frozen=True, kw_only=True)
class HardwareParameters:
    """Where and how fast a run computes; its losses depend on none of these but ``precision``."""

    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 0  # processes on this machine; 0: all GPUs, or one process on a CPU
    num_nodes: int = 1
    num_threads: int = 0  # of torch on a CPU; 0 leaves torch's choice
    precision: Literal["auto", "float32", "float64", "bf16"] = (
        "auto"  # auto: bf16 on a GPU, float32 on a CPU
    )
    is_channels_last: bool = True
    is_compiled: bool = False
    is_deterministic: bool = False
    num_workers: int = -1  # loader processes; -1: none on a CPU, eight a GPU
    memory_limit_mb: int = (
        1024  # data sets that fit are read once and kept in memory; 0 streams always
    )
    checkpoint_every_seconds: float = 60.0

    def __post_init__(self):
        for name in ("devices", "num_threads", "memory_limit_mb", "checkpoint_every_seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be >= 0")
        if self.num_nodes < 1:
            raise ValueError(f"num_nodes ({self.num_nodes}) must be >= 1")


def require_known(name: str, known, what: str) -> None:
    """Raise ``ParameterError`` unless ``name`` is among ``known``."""
    if name not in known:
        raise ParameterError(f"unknown {what} {name!r}; known: {', '.join(known)}")
