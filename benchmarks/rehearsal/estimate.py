"""What whole datasets take, from what a part of one took."""

from dataclasses import dataclass

from benchmarks.rehearsal.path import Cost

CORES = (2, 16, 256)
_SECONDS_AN_HOUR = 3600.0


@dataclass(frozen=True)
class Plan:
    """A dataset, as far as its cost depends on it."""

    name: str
    num_clips: int  # of its list
    num_requests: int
    requests_per_hour: float  # that its site bears
    ok_fraction: float  # of the clips that are still there; a guess
    samples_per_clip: float = 1.0


PLANS = (
    Plan("Flickr 144k", 144_000, 144_000, 3600.0, 0.8),
    Plan("VGG-Sound, all", 199_176, 199_176, 300.0, 0.8),
    # One archive of 9.6 GB. The full release has 5,704 frames with boxes, up to 20 in a clip.
    Plan("Urbansas, test", 286, 1, 3600.0, 1.0, samples_per_clip=20.0),
)


@dataclass(frozen=True)
class Estimate:
    """What a dataset takes."""

    request_hours: float  # at the pace that the site bears
    hours: dict[int, float]  # of computing, by number of cores
    gigabytes: float  # clips and features


def estimate(plan: Plan, costs: dict[str, Cost]) -> Estimate:
    """Extrapolate: costs grow with the number of clips, and cores share them evenly."""
    num_ok = plan.num_clips * plan.ok_fraction
    counts = {
        name: plan.num_clips if name == "download" else num_ok * plan.samples_per_clip
        for name in costs
    }
    cpu_hours = sum(costs[name].cpu_seconds * counts[name] for name in costs) / _SECONDS_AN_HOUR
    num_bytes = sum(costs[name].num_bytes * counts[name] for name in costs)
    return Estimate(
        plan.num_requests / plan.requests_per_hour,
        {cores: cpu_hours / cores for cores in CORES},
        num_bytes / 1e9,
    )
