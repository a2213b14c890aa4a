"""Every recipe runs to its report, on tiny lists and clips of a site on this machine."""

import importlib
import re
import shlex
import shutil
from collections import Counter
from pathlib import Path

import networkx
import pytest
import yaml
from dvc.repo import Repo

from earshot.tables import CLIPS, DOWNLOADS, INDEX, SAMPLES, read_table
from eval.published.comparability import PUBLISHED
from eval.report.data.result_rows import group_results
from eval.report.sections.published_table import view_published
from eval.results.files import read_results
from pipeline.__main__ import main
from pipeline.base.project import Project
from pipeline.commands.use import list_recipes
from stages.check import check_params
from tests.helpers.checkouts import change_parameter
from tests.helpers.downloads.misbehaving_server import MisbehavingServer
from tests.helpers.paths import ROOT
from tests.helpers.recipes.tiny_lists import GONE, VGG_TEST, VGG_TRAIN, make_box
from tests.helpers.recipes.tiny_world import TinyWorld, make_world, shrink
from train.runs.run_folder import read_run

# These two stand for all others where time is short.
QUICK_RECIPES = {"flowgrad_urbansas", "lvs_flickr_10k"}
RECIPES = [
    pytest.param(name, marks=() if name in QUICK_RECIPES else pytest.mark.slow)
    for name in list_recipes(ROOT)
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with MisbehavingServer() as server:
        yield make_world(tmp_path_factory.mktemp("world"), server)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_to_its_report(tmp_path, monkeypatch, world, name):
    project = use_recipe(tmp_path, monkeypatch, world, name)
    check_params(project)
    run_all_stages(project)
    for dataset in project.datasets:
        check_accounts(project, dataset)
    check_results(project, name)


def test_a_tenth_of_a_dataset_is_enough_for_a_table(tmp_path, monkeypatch, world, capsys):
    """Without the network the rest is pending, and the table says how much was scored."""
    project = use_recipe(tmp_path, monkeypatch, world, "ezvsl_vggsound_10k")
    lists_dir = shutil.copytree(world.folder / "vggsound", tmp_path / "lists")
    with (lists_dir / "ezvsl" / "vggss_10k.txt").open("a") as file:
        file.writelines(f"_other{number:05d}_000000\n" for number in range(50))
    change_parameter(tmp_path, "sources.vggsound.lists_dir", str(lists_dir))
    change_parameter(tmp_path, "download.network", False)
    project = Project.load(tmp_path)

    own_dir = tmp_path / "own"
    own_dir.mkdir()
    own = [*VGG_TRAIN[:6], *VGG_TEST[1:3]]
    for number, clip_id in enumerate(own):
        content = (world.folder / "300.mp4").read_bytes() + make_box(number)
        (own_dir / f"{clip_id}.mp4").write_bytes(content)
    assert main(["--root", str(tmp_path), "import", str(own_dir), "--quiet"]) == 0
    num_requests = sum(world.server.num_requests.values())
    run_all_stages(project)
    assert sum(world.server.num_requests.values()) == num_requests

    table = read_table(project.downloads_table_path("vggsound"), DOWNLOADS)
    rows = Counter((row["status"], row["detail"]) for row in table.to_pylist())
    assert rows == {("ok", None): 8, ("pending", "network is off"): 72}
    assert read_run(project.run_dir("ezvsl_10k"))["num_train"] == 6
    results = read_results(project.reports_dir)["results"]
    scores = [row for row in results if row["model"] == "ezvsl_10k"]
    assert {(row["n"], row["num_requested"]) for row in scores} == {(2, 6)}
    assert all(row["missing"] == {"frames: pending": 4} for row in scores)
    assert "33.3" in (project.reports_dir / "results.md").read_text()
    assert "33.3" in (project.reports_dir / "index.html").read_text()


@pytest.mark.slow
def test_another_recipe_in_between_costs_nothing(tmp_path, monkeypatch, world, capsys):
    results, num_requests = [], []
    for name in ("lvs_flickr_10k", "ezvsl_flickr_10k", "lvs_flickr_10k"):
        project = use_recipe(tmp_path, monkeypatch, world, name)
        capsys.readouterr()
        run_all_stages(project)
        results.append(read_results(project.reports_dir))
        num_requests.append(sum(world.server.num_requests.values()))

    assert results[0] == results[2] != results[1]
    # Both recipes need the same clips, which are fetched once.
    assert len(set(num_requests)) == 1
    printed = capsys.readouterr().out
    assert set(re.findall(r"(\d+) computed", printed)) == {"0"}
    assert "brought back the finished run" in printed


def use_recipe(folder: Path, monkeypatch, world: TinyWorld, name: str) -> Project:
    """Make a folder with this checkout's parameters and graph, and use a recipe in it."""
    for file in ("params.yaml", "dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / file, folder)
    shutil.copytree(ROOT / "recipes", folder / "recipes", dirs_exist_ok=True)
    monkeypatch.chdir(folder)  # parameters name runs relative to the checkout
    assert main(["--root", str(folder), "use", name]) == 0

    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    shrink(params, world)
    path.write_text(yaml.safe_dump(params))
    return Project.load(folder)


def run_all_stages(project: Project) -> None:
    """Run the stages of dvc.yaml in this process, in an order of DVC's graph.

    As DVC does, remove what a stage made before, unless it persists.
    """
    if not (project.root / ".dvc").exists():
        Repo.init(str(project.root), no_scm=True)
    repo = Repo(str(project.root))
    # An edge leads from a stage to what it depends on.
    for stage in reversed(list(networkx.topological_sort(repo.index.graph))):
        _, _, module_name, *words = shlex.split(stage.cmd)
        module = importlib.import_module(module_name)
        run = getattr(module, module_name.partition(".")[2], module.main)
        for out in stage.outs:
            if out.exists and not out.persist:
                out.remove()
        run(project, *words)
        for out in stage.outs:
            assert Path(out.fs_path).exists(), f"{stage.addressing} made no {out}"


def check_accounts(project: Project, dataset: str) -> None:
    """Every clip and every sample is there, or has a reason."""
    clips = read_table(project.clips_table_path(dataset), CLIPS).to_pylist()
    rows = read_table(project.downloads_table_path(dataset), DOWNLOADS).to_pylist()
    assert [row["clip_id"] for row in rows] == [clip["clip_id"] for clip in clips]
    gone = {clip["clip_id"] for clip in clips if clip["video_id"] in GONE}
    found = {row["clip_id"]: (row["status"], row["reason"]) for row in rows}
    if dataset != "sample":
        assert found == {
            name: ("missing", "gone") if name in gone else ("ok", None) for name in found
        }
        assert bool(gone) == (dataset != "urbansas")

    samples = read_table(project.samples_table_path(dataset), SAMPLES).to_pylist()
    for path in project.dataset_cache_dir(dataset).glob("*/index.parquet"):
        index = read_table(path, INDEX).to_pylist()
        assert {row["sample_id"] for row in index} == {row["sample_id"] for row in samples}
        assert all((row["status"] == "ok") == (row["reason"] is None) for row in index)
        if dataset != "sample":
            assert {row["sample_id"] for row in index if row["status"] != "ok"} == {
                row["sample_id"] for row in samples if row["clip_id"] in gone
            }, path


def check_results(project: Project, recipe: str) -> None:
    """Each run has its row, and each row of the papers has one of ours beside it."""
    results = read_results(project.reports_dir)["results"]
    subsets = project.section("evaluate.subsets")
    protocols = project.section("evaluate.protocols")
    for run in (*project.names("models"), *project.names("released")):
        rows = [row for row in results if row["model"] == run]
        assert {(row["dataset"], row["subset"], row["protocol"]) for row in rows} == {
            (dataset, split, protocol)
            for dataset in project.datasets
            for split in subsets[dataset]
            for protocol in protocols
        }
        for row in rows:
            assert row["n"] + sum(row["missing"].values()) == row["num_requested"]
            assert 0 < row["coverage_percent"] <= 100

    groups = group_results(
        results, first_protocol=project.section("evaluate.main_protocol"), metric="auc"
    )
    seen = [row for group in groups for row in view_published([group])]
    told = yaml.safe_load((ROOT / "recipes" / f"{recipe}.yaml").read_text())["rows"]
    for method, trained_on, test_set in told:
        (published,) = [
            row
            for row in PUBLISHED
            if (row.method, row.trained_on, row.test_set) == (method, trained_on, test_set)
        ]
        found = [
            row
            for row in seen
            if (row.method, row.trained_on, row.success_rate)
            == (method, trained_on, published.success_rate)
            and row.own_model is not None
        ]
        assert found, (method, trained_on, test_set)
        # LocAcc counts samples whose overlap is above .5; its maps are those of `slavc`.
        protocol = "slavc" if published.protocol == "locacc" else published.protocol
        assert protocol in {row.own_protocol for row in found}
