"""Find out which processes train together: their launcher, their number, and the present one.

| started by | how it is recognized |
|---|---|
| ``torchrun`` | ``TORCHELASTIC_RUN_ID`` |
| ``srun`` | it started several tasks: ``SLURM_STEP_NUM_TASKS`` |
| Lightning | ``EARSHOT_STARTED_BY_LIGHTNING``, which a plain process sets before it trains |
| something like torchrun | ``WORLD_SIZE``, ``LOCAL_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT`` |
| nobody (plain) | none of these: Lightning starts the further processes of this machine |

An ``sbatch`` script is plain. SLURM sets most of its variables there, too, but it starts the script
only once, even if the job has many tasks. The same holds for ``srun`` with one task.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from earshot.errors import ParameterError

Launcher = Literal["plain", "lightning", "torchrun", "srun", "by hand"]

# Set while a process trains, so that the processes that Lightning starts from it inherit it.
CHILD_VARIABLE = "EARSHOT_STARTED_BY_LIGHTNING"

# srun sets these for its tasks; an sbatch script has none of them.
_STEP_VARIABLES = (
    "SLURM_STEP_NUM_TASKS",
    "SLURM_STEP_ID",
    "SLURM_STEPID",
    "SLURM_SRUN_COMM_HOST",
    "SLURM_SRUN_COMM_PORT",
)
# Variables of launchers that are not known here, with the number of their processes.
_OTHER_LAUNCHERS = {
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpiexec",
    "JSM_NAMESPACE_SIZE": "jsrun",
}
# The variables that every process needs if something like torchrun starts it.
_BY_HAND = ("WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_FIRST = (None, "", "0")  # ranks of a first process
_LOCALHOST = "127.0.0.1"
# Jobs that share a machine need ports of their own. Each job step gets an even one; the next one is
# for the decision whether to train.
_FIRST_PORT, _NUM_PORT_PAIRS = 15000, 5000
_PORTS_A_STEP = 131  # a prime, so that the steps of neighbouring jobs differ


@dataclass(frozen=True, kw_only=True)
class Launch:
    """The processes that were started to train together, and the place of this one among them."""

    launcher: Launcher = "plain"
    num_processes: int = 1  # that were started; Lightning may start more from a plain one
    num_local: int | None = None  # of them on this machine; None: not known
    rank: int = 0
    local_rank: int = 0
    node_rank: int = 0
    address: str | None = None  # of the first process, where they meet
    port: int | None = None
    is_in_slurm: bool = False
    # torchrun has a store of keys at ``port``, where processes can meet before they train
    store_prefix: str | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes the results of all processes."""
        return self.rank == 0 and self.local_rank == 0 and self.node_rank == 0

    @property
    def is_whole(self) -> bool:
        """Whether all processes were started. If not, Lightning starts the others."""
        return self.launcher != "plain"


def find_launch(environment: Mapping[str, str]) -> Launch:
    """Read from environment variables who started this process.

    Args:
        environment: the variables.

    Returns:
        The launcher, the number of processes that it started, and the place of this one.

    Raises:
        ParameterError: they contradict each other, or are of a launcher that is not known here.
    """
    launch = _read_launch(environment)
    if launch.is_whole and launch.rank >= launch.num_processes:
        # The others would wait for a process that never comes.
        raise ParameterError(
            f"{launch.launcher}: this is process {launch.rank} (from 0) of "
            f"{launch.num_processes}, expected a smaller number; start all of them anew"
        )
    return launch


def _read_launch(environment: Mapping[str, str]) -> Launch:
    # Check Lightning first: its processes also inherit the variables of torchrun or SLURM.
    if CHILD_VARIABLE in environment:
        return _read_lightning(environment)
    if "TORCHELASTIC_RUN_ID" in environment:
        return _read_torchrun(environment)
    if _count_tasks(environment) > 1:
        return _read_srun(environment)

    _refuse_unknown(environment)
    if _read_number(environment, "WORLD_SIZE", default=1) > 1:
        return _read_by_hand(environment)
    return _read_plain(environment)


def _read_torchrun(environment: Mapping[str, str]) -> Launch:
    has_store = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    # torchrun starts failed processes again. A decision of an earlier attempt must not count.
    attempt = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    return Launch(
        launcher="torchrun",
        num_processes=_read_number(environment, "WORLD_SIZE"),
        num_local=_read_number(environment, "LOCAL_WORLD_SIZE"),
        rank=_read_number(environment, "RANK"),
        local_rank=_read_number(environment, "LOCAL_RANK"),
        node_rank=_read_number(environment, "GROUP_RANK", default=0),
        address=environment.get("MASTER_ADDR", _LOCALHOST),
        port=_read_number(environment, "MASTER_PORT"),
        store_prefix=f"earshot/{attempt}" if has_store else None,
    )


def _count_tasks(environment: Mapping[str, str]) -> int:
    """Return how many tasks ``srun`` started; 1 outside of it."""
    # Only the first process of a batch script can be outside of a step.
    is_task = any(name in environment for name in _STEP_VARIABLES)
    if not is_task and _read_number(environment, "SLURM_PROCID", default=0) == 0:
        return 1

    # Variables of the job can count more tasks than those of the step.
    names = ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS")
    for name in names:
        if name in environment:
            return _read_number(environment, name)
    if _read_number(environment, "SLURM_PROCID", default=0) > 0:
        # Each task would train alone, and all would write the same files.
        raise ParameterError(
            f"SLURM_PROCID={environment['SLURM_PROCID']} says that this is one of several tasks, "
            f"but none of {', '.join(names)} says of how many; start them with srun"
        )
    return 1


def _read_srun(environment: Mapping[str, str]) -> Launch:
    num_tasks = _count_tasks(environment)
    num_nodes = next(
        (
            _read_number(environment, name)
            for name in ("SLURM_STEP_NUM_NODES", "SLURM_NNODES", "SLURM_JOB_NUM_NODES")
            if name in environment
        ),
        1,
    )

    if num_nodes < 1 or num_tasks % num_nodes:
        raise ParameterError(
            f"srun started {num_tasks} tasks on {num_nodes} nodes, expected equally many on each; "
            "use srun --ntasks-per-node"
        )

    return Launch(
        launcher="srun",
        num_processes=num_tasks,
        num_local=num_tasks // num_nodes,
        rank=_read_number(environment, "SLURM_PROCID"),
        local_rank=_read_number(environment, "SLURM_LOCALID"),
        node_rank=_read_number(environment, "SLURM_NODEID", default=0),
        address=environment.get("MASTER_ADDR") or _find_first_node(environment, num_nodes),
        port=_choose_port(environment),
        is_in_slurm=True,
    )


def _find_first_node(environment: Mapping[str, str], num_nodes: int) -> str:
    if num_nodes == 1:
        return _LOCALHOST
    for name in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"):
        if environment.get(name):
            return SLURMEnvironment.resolve_root_node_address(environment[name])
    raise ParameterError(
        f"srun started tasks on {num_nodes} nodes, but SLURM_JOB_NODELIST does not name them; set "
        "MASTER_ADDR to the first one"
    )


def _choose_port(environment: Mapping[str, str]) -> int:
    """Return the port of a job step, the same in all of its tasks."""
    if "MASTER_PORT" in environment:
        return _read_number(environment, "MASTER_PORT")

    job = _read_number(environment, "SLURM_JOB_ID", default=0)
    step = _read_number(environment, "SLURM_STEP_ID", default=0)
    return _FIRST_PORT + 2 * ((job + _PORTS_A_STEP * step) % _NUM_PORT_PAIRS)


def _read_lightning(environment: Mapping[str, str]) -> Launch:
    return Launch(
        launcher="lightning",
        num_processes=_read_number(environment, "WORLD_SIZE"),
        local_rank=_read_number(environment, "LOCAL_RANK"),
        node_rank=_read_number(environment, "NODE_RANK", default=0),
    )


def _read_by_hand(environment: Mapping[str, str]) -> Launch:
    num_processes = _read_number(environment, "WORLD_SIZE")
    local_rank = _read_number(environment, "LOCAL_RANK")
    node_rank = _read_number(environment, "NODE_RANK", default=0)
    if node_rank > 0 and not environment.get("RANK"):
        # It would take the number of a process of the first machine.
        raise ParameterError(
            f"NODE_RANK={node_rank}: RANK is not set, expected the number of this process among "
            f"all {num_processes}"
        )
    return Launch(
        launcher="by hand",
        num_processes=num_processes,
        num_local=_read_number(environment, "LOCAL_WORLD_SIZE", default=0) or None,
        rank=_read_number(environment, "RANK", default=local_rank),
        local_rank=local_rank,
        node_rank=node_rank,
        address=environment["MASTER_ADDR"],
        port=_read_number(environment, "MASTER_PORT"),
    )


def _read_plain(environment: Mapping[str, str]) -> Launch:
    has_address = "MASTER_ADDR" in environment and "MASTER_PORT" in environment
    return Launch(
        node_rank=_read_number(environment, "NODE_RANK", default=0),
        address=environment["MASTER_ADDR"] if has_address else None,
        port=_read_number(environment, "MASTER_PORT") if has_address else None,
        is_in_slurm="SLURM_JOB_ID" in environment,
    )


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    """Refuse a process that is one of several if its rank is not known."""
    for name, launcher in _OTHER_LAUNCHERS.items():
        if _read_number(environment, name, default=1) > 1:
            raise ParameterError(
                f"{launcher} started {environment[name]} processes ({name}), which training does "
                "not support; use torchrun or srun, or start it once"
            )

    # An earlier training in this process may have left the variables of a first process.
    names = [name for name in ("RANK", "LOCAL_RANK") if environment.get(name) not in _FIRST]
    if _read_number(environment, "WORLD_SIZE", default=1) > 1:
        names.append("WORLD_SIZE")
    missing = [name for name in _BY_HAND if not environment.get(name)]
    if names and missing:
        found = ", ".join(f"{name}={environment[name]}" for name in names)
        raise ParameterError(
            f"{found} says that this is one of several training processes, but "
            f"{', '.join(missing)} is not set; start them with torchrun or srun, or unset "
            f"{', '.join(names)}"
        )


def _read_number(environment: Mapping[str, str], name: str, *, default: int | None = None) -> int:
    text = environment.get(name) or ""
    if not text and default is not None:
        return default
    try:
        return int(text)
    except ValueError:
        raise ParameterError(
            f"environment variable {name} is {text!r}, expected a whole number from the launcher"
        ) from None


def make_cluster_environment(launch: Launch) -> ClusterEnvironment:
    """Tell Lightning what ``launch`` says, so that it does not guess from the variables."""
    if launch.launcher == "lightning":
        return LightningEnvironment()
    return _StartedProcesses(launch) if launch.is_whole else _PlainProcess()


class _PlainProcess(LightningEnvironment):
    """The only process so far, whatever an earlier training has left in the variables."""

    @property
    def creates_processes_externally(self) -> bool:
        return False

    def local_rank(self) -> int:
        return 0


class _StartedProcesses(ClusterEnvironment):
    """Processes that all were started from outside."""

    def __init__(self, launch: Launch):
        super().__init__()
        self._launch = launch

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        assert self._launch.address is not None
        return self._launch.address

    @property
    def main_port(self) -> int:
        assert self._launch.port is not None
        return self._launch.port

    @staticmethod
    def detect() -> bool:
        return False  # is only given to a trainer, never found by it

    def world_size(self) -> int:
        return self._launch.num_processes

    def set_world_size(self, size: int) -> None:
        """Do nothing: the number of started processes is what it is."""

    def global_rank(self) -> int:
        return self._launch.rank

    def set_global_rank(self, rank: int) -> None:
        """Do nothing: the launcher has numbered the processes."""

    def local_rank(self) -> int:
        return self._launch.local_rank

    def node_rank(self) -> int:
        return self._launch.node_rank
