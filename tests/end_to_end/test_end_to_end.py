"""Run the main job in small: DVC, yt-dlp, real media, shards, training, evaluation and the page."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
import pytest

import stages.download
import stages.feature
import stages.sources
from earshot import tables
from pipeline.base.project import Project
from tests.helpers.checkouts import change_parameter, make_checkout, run, skip_check, stages_run
from tests.helpers.paths import shared_path

FEATURES = ("frames", "spectrograms", "flow")
BROKEN = {
    "removed": "gone",
    "truncated": "corrupt",
    "no_audio": "no_audio",
    "no_video": "no_video",
    "too_short": "too_short",
    "duplicate": "duplicate",
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = make_checkout(tmp_path_factory.mktemp("main_job") / "checkout")
    run(folder, "dvc", "repro")
    return folder


def make_features(folder: Path, dataset: str, features: Iterable[str]) -> None:
    """Run the stages up to these features in this process, without DVC."""
    project = Project.load(folder)
    stages.sources.main(project, dataset)
    stages.download.main(project, dataset)
    for feature in features:
        stages.feature.main(project, feature, dataset)


def test_every_sample_is_in_every_index_ok_or_with_its_reason(checkout):
    manifests = checkout / "manifests" / "sample"
    samples = tables.read_table(manifests / "samples.parquet", tables.SAMPLES)[
        "sample_id"
    ].to_pylist()
    downloads = tables.read_table(manifests / "downloads.parquet", tables.DOWNLOADS).to_pylist()
    reasons = {row["clip_id"]: row["reason"] for row in downloads if row["status"] != "ok"}
    assert {clip_id.rsplit("_", 1)[0]: reason for clip_id, reason in reasons.items()} == BROKEN
    for feature in FEATURES:
        index = tables.read_table(
            checkout / "cache" / "sample" / feature / "index.parquet", tables.INDEX
        ).to_pylist()
        assert [row["sample_id"] for row in index] == samples
        assert {
            row["sample_id"]: row["reason"] for row in index if row["status"] != "ok"
        } == reasons
        account = json.loads((manifests / f"{feature}.json").read_text())
        num_missing = sum(account["missing"].values())
        assert (account["requested"], account["ok"], num_missing) == (
            len(samples),
            len(samples) - 6,
            6,
        )


def test_shards_open_with_plain_h5py(checkout):
    num_shards = 0
    for feature in FEATURES:
        for path in (checkout / "cache" / "sample" / feature).glob("*.h5"):
            with h5py.File(path) as file:
                assert file.attrs["feature"] == feature
            num_shards += 1
    assert num_shards >= 4 * 3


def test_arrays_have_their_published_shapes(checkout):
    from earshot.reader import FeatureReader

    readers = {name: FeatureReader(checkout / "cache" / "sample" / name) for name in FEATURES}
    assert readers["frames"].sample_ids
    for sample_id in readers["frames"].sample_ids:
        frame = readers["frames"].read(sample_id)
        assert frame.dtype == np.uint8
        assert min(frame.shape[:2]) == 246
        spectrogram = readers["spectrograms"].read(sample_id)
        assert spectrogram.shape == (257, 300)
        assert np.isfinite(spectrogram).all()
    flows = [readers["flow"].read(sample_id) for sample_id in readers["flow"].sample_ids]
    assert all(flow.shape[0] == 2 for flow in flows)
    assert min(flow.min() for flow in flows) < -1 < 1 < max(flow.max() for flow in flows)


def test_the_results_name_every_model_baseline_and_subset(checkout):
    results = json.loads((checkout / "reports" / "results.json").read_text())["results"]
    rows = {(row["model"], row["subset"]): row for row in results if row["protocol"] == "earshot"}
    baselines = {"centre", "uniform", "random", "flow", "flow_8bit", "flow_8bit_normalized"}
    subsets = ("single", "traffic", "final_single", "final_traffic")
    models = {"ezvsl", "ezvsl_untrained", "htf", "htf_untrained", *baselines}
    assert set(rows) == {(model, subset) for model in models for subset in subsets}
    for row in rows.values():
        assert (row["n"], row["num_requested"], row["coverage_percent"]) == (4, 4, 100)
        for metric in ("mean_ciou", "success_rate", "auc", "adaptive_ciou", "pointing_accuracy"):
            assert row[f"{metric}_low"] <= row[metric] <= row[f"{metric}_high"]
    assert rows["htf", "single"]["selection"] == "val"
    assert rows["htf", "single"]["leakage"] == 0
    assert rows["htf_untrained", "single"]["leakage"] == 0


def test_the_page_shows_availability_results_and_pictures(checkout):
    page = (checkout / "reports" / "index.html").read_text()
    for text in ("duplicate", "too_short", "pointing", "htf_untrained", "data:image/"):
        assert text in page
    assert "http://" not in page.replace("http://www.w3.org/", "")


def test_dvc_shows_metrics_and_plots(checkout):
    shown = run(checkout, "dvc", "metrics", "show")
    header, *rows = shown.splitlines()[-2:]
    assert "ezv.fs" in header and "htf.tr" in header
    assert rows and rows[0].startswith("reports/summary.json")
    assert max(map(len, shown.splitlines())) <= 100
    run(checkout, "dvc", "plots", "show", "-o", "plots_page")
    assert (checkout / "plots_page" / "index.html").is_file()


def test_repro_again_does_nothing_and_says_so(checkout):
    output = run(checkout, "dvc", "repro")
    assert stages_run(output) == set()
    assert "up to date" in output


def test_two_runs_make_the_same_bytes_whatever_the_number_of_workers(checkout, tmp_path):
    other = make_checkout(
        tmp_path / "other", {"cluster.workers": 2, "sources.sample.num_workers": 1}
    )
    make_features(other, "sample", FEATURES)
    compared = 0
    for feature in FEATURES:
        folder = checkout / "cache" / "sample" / feature
        assert _index_without_detail(folder) == _index_without_detail(
            other / folder.relative_to(checkout)
        )
        for path in sorted(folder.glob("*.h5")):
            assert path.read_bytes() == (other / path.relative_to(checkout)).read_bytes(), path.name
            compared += 1
    assert compared >= 3 * 3


def test_a_folder_of_ones_own_videos(checkout, tmp_path):
    remote = checkout / "cache" / "sample" / "remote"
    folder = tmp_path / "my videos"
    (folder / "häuser").mkdir(parents=True)
    clips = {row["clip_id"]: row for row in _downloads(checkout, "sample") if row["status"] == "ok"}
    originals = sorted(path for path in remote.glob("*.mp4") if path.name.startswith(tuple(clips)))[
        :3
    ]
    for original, name in zip(originals, ("-a.mp4", "b c.mp4", "häuser/ü.mp4"), strict=True):
        shutil.copy(original, folder / name)
    (folder / "notes.txt").write_text("not a video")
    mute = next(path for path in remote.iterdir() if path.name.startswith("no_audio"))
    shutil.copy(mute, folder / "mute.mp4")
    changes = {"datasets": ["local"], "sources.local.folder": str(folder), "models": ["ezvsl"]}
    local = make_checkout(tmp_path / "local", changes)
    skip_check(local)
    output = run(local, "dvc", "repro")
    assert "not trained" in output
    rows = {
        Path(row["detail"] or "").name or row["clip_id"]: row for row in _downloads(local, "local")
    }
    # The text is not a video. The silent one has what it can have: pictures, but no sound.
    assert sorted(row["status"] for row in rows.values()) == ["missing"] + ["ok"] * 4
    assert _count(local, "flow") == {"missing": 1, "ok": 4}
    assert _count(local, "spectrograms") == {"missing": 2, "ok": 3}


def test_real_media_of_all_kinds_as_a_local_folder(tmp_path):
    media = shared_path("media")
    changes = {"datasets": ["local"], "sources.local.folder": str(media), "models": []}
    folder = make_checkout(tmp_path / "media", changes)
    make_features(folder, "local", ("frames", "spectrograms"))
    rows = _downloads(folder, "local")
    assert len(rows) == len([path for path in media.iterdir() if path.is_file()])
    found = {row["clip_id"].split(".")[0]: row["reason"] for row in rows}
    ok = {name for name, reason in found.items() if reason is None}
    with_sound = {"nasa_13013", "flipping_a_pancake", "big_buck_bunny_0_30", "no_duration"}
    assert ok == with_sound | {"corrupted", "h265_10bits"}
    assert _count(folder, "frames")["ok"] == 6
    assert _count(folder, "spectrograms")["ok"] == 4


def _count(folder: Path, feature: str) -> Counter:
    """Count the samples of local videos by their status, where each that is missing says why."""
    index = tables.read_table(
        folder / "cache" / "local" / feature / "index.parquet", tables.INDEX
    ).to_pylist()
    assert all(row["reason"] for row in index if row["status"] != "ok")
    return Counter(row["status"] for row in index)


def _index_without_detail(folder: Path) -> list[dict]:
    """Read the index without the details of what is missing.

    Details name files by their whole path, which is another one in another checkout.
    """
    return (
        tables.read_table(folder / "index.parquet", tables.INDEX)
        .drop_columns(["detail"])
        .to_pylist()
    )


def _downloads(folder: Path, dataset: str) -> list[dict]:
    return tables.read_table(
        folder / "manifests" / dataset / "downloads.parquet", tables.DOWNLOADS
    ).to_pylist()


def test_errors_are_one_line_with_an_exit_code(tmp_path):
    folder = make_checkout(tmp_path / "wrong", {"sources.sample.num_trian": 3})
    output = run(folder, "python", "-m", "stages.sources", "sample", is_failure_expected=True)
    assert output.startswith(
        "error: params: unknown key sources.sample.num_trian, did you mean num_train?; known: "
    )
    assert output.count("\n") == 1


def test_a_parameter_reruns_what_reads_it_and_what_follows(checkout):
    """The last test of this file, because it changes what the others look at."""
    before = _find_shards(checkout)
    change_parameter(checkout, "flow.window_size", 13)
    skip_check(checkout)
    output = run(checkout, "dvc", "repro")
    # The model `ezvsl` reads no flow.
    assert stages_run(output) == {"flow@sample", "inputs", "train@htf", "evaluate", "report"}
    assert "htf: nothing that" not in output

    after = _find_shards(checkout)
    assert set(after) == set(FEATURES) and all(after.values())
    assert [name for name in FEATURES if after[name] != before[name]] == ["flow"]


def _find_shards(folder: Path) -> dict[str, dict[str, int]]:
    """Return feature -> {shard: number of its file on the disk}, which a new file changes."""
    return {
        name: {
            path.name: path.stat().st_ino
            for path in (folder / "cache" / "sample" / name).glob("*.h5")
        }
        for name in FEATURES
    }
