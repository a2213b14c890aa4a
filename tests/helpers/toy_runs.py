"""Training runs of seconds over the features of ``toy_features``."""

from train.fitting.fit import fit
from train.models.registry import build_parameters
from train.models.training_parameters import HardwareParameters

TINY = {
    "width": 8,
    "image_size": 32,
    "map_stride": 8,
    "batch_size": 8,
    "epochs": 2,
    "init": "random",
    "learning_rate": 1e-3,
    "spectrogram_pooling": 8,
    "spectrogram_mean": -6.0,
    "spectrogram_std": 2.0,
}
CPU = HardwareParameters(accelerator="cpu", num_threads=1)


def tiny(method="ezvsl", **settings):
    if method == "htf":
        settings = {"freeze_vision": False, "flow_scale": 0.2, **settings}
    return build_parameters({"method": method, **TINY, **settings}, "test")


def run(toy, run_dir, parameters=None, hardware=CPU, **options):
    _, dirs, ids, _ = toy
    options = {"train_ids": ids[:32], "val_ids": ids[32:40], "test_ids": ids[40:], **options}
    return fit(
        parameters or tiny(),
        features_dirs=dirs,
        run_dir=run_dir,
        hardware=hardware,
        is_quiet=True,
        **options,
    )


def losses(result):
    return [row["train_loss"] for row in result.history]
