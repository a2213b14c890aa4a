"""Let Slurm run workers: as many jobs as there is work for, each a Dask worker of one core.

    python examples/slurm_workers.py --jobs 64 --walltime 04:00:00

Run it in the root of the checkout, on a machine that may submit jobs, and leave it running. It is
the scheduler, too, and writes where that is to ``cache/scheduler.json``. In another terminal:

    export DASK_SCHEDULER_FILE=cache/scheduler.json
    dvc repro

Needs ``pip install dask-jobqueue==0.9.0``, which is in the environment of a checkout.
"""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from dask_jobqueue import SLURMCluster
from distributed import Client


def main() -> None:
    """Run a scheduler, and submit workers until this is ended with Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=16, help="the most workers")
    parser.add_argument("--walltime", default="04:00:00", help="of a job; a new one follows")
    parser.add_argument("--memory", default="4GB", help="of a worker")
    parser.add_argument("--queue", help="Slurm's partition")
    parser.add_argument("--file", type=Path, default=Path("cache/scheduler.json"))
    arguments = parser.parse_args()

    end = threading.Event()
    # The workers run this Python in this folder, so that they have the code of this checkout.
    cluster = SLURMCluster(
        cores=1,
        processes=1,
        memory=arguments.memory,
        walltime=arguments.walltime,
        queue=arguments.queue,
        python=sys.executable,
        job_script_prologue=[f"cd {os.getcwd()}", f"export PYTHONPATH={os.getcwd()}:$PYTHONPATH"],
    )
    cluster.adapt(minimum=1, maximum=arguments.jobs)
    with cluster, Client(cluster) as client:
        # Renamed, because a stage that waits for the file must not read half of it.
        temporary = arguments.file.with_suffix(".part")
        client.write_scheduler_file(str(temporary))
        temporary.replace(arguments.file)
        print(f"scheduler {cluster.scheduler_address}, in {arguments.file}; Ctrl-C ends it")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: end.set())
        end.wait()
        arguments.file.unlink()


if __name__ == "__main__":
    main()
