"""Training curves as they are read from DVCLive's tables."""

import numpy as np

from eval.report.sections.training_curves import read_curves


def test_curves_are_read_with_their_steps(tmp_path):
    folder = tmp_path / "plots" / "metrics" / "val"
    folder.mkdir(parents=True)
    (folder / "loss.tsv").write_text(
        "timestamp\tstep\tloss\n1\t0\t2.5\n2\t10\tnan\n3\t20\tbroken\n4\t30\t1e-3\n"
    )
    steps, values = read_curves(tmp_path)["val/loss"]
    assert steps == [0, 10, 30]
    assert values[0] == 2.5
    assert np.isnan(values[1])
    assert values[2] == 0.001
