"""Runs that differ in the seed alone are one recipe, also where an earlier stage does."""

from pipeline.base.project import Project
from train.inference.entrants import _name_recipe
from train.runs.settings import read_run_data, read_run_parameters

COARSE = {"method": "coarsetofine", "init": "random", "width": 8, "features": []}
FINE = {**COARSE, "stage": 2}


def test_two_stages_of_each_seed_are_one_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = {
        "coarse": COARSE,
        "coarse_seed1": {**COARSE, "seed": 1},
        "coarse_other": {**COARSE, "epochs": 3},
    }
    runs |= {
        run.replace("coarse", "fine"): {**FINE, "init": f"cache/runs/{run}", "seed": seed}
        for seed, run in enumerate(runs)
    }
    lvs = {"method": "lvs", "width": 8, "init": "random"}
    runs |= {f"lvs{seed}": {**lvs, "seed": seed} for seed in range(2)}
    for seed in range(2):
        encoder = f"cache/runs/lvs{seed}"
        runs[f"hardpos{seed}"] = {
            **lvs,
            "method": "hardpos",
            "seed": seed,
            "frame_encoder": encoder,
            "sound_encoder": encoder,
        }
        runs[f"clusters{seed}"] = {
            **COARSE,
            "seed": seed,
            "labels": f"cache/labels/{seed}.npz",
            "label_encoder": encoder,
        }
    project = Project(tmp_path, {"datasets": ["sample"], "train": runs})
    recipe_of = {
        run: _name_recipe(
            project, "sample", read_run_data(project, run), read_run_parameters(project, run)
        )
        for run in runs
    }
    assert recipe_of["coarse"] == recipe_of["coarse_seed1"] != recipe_of["coarse_other"]
    assert recipe_of["fine"] == recipe_of["fine_seed1"] != recipe_of["fine_other"]
    # So may the runs that find neighbours, or labels.
    assert recipe_of["hardpos0"] == recipe_of["hardpos1"]
    assert recipe_of["clusters0"] == recipe_of["clusters1"]
