"""The request for a video, and the answer where its worker gave none."""

from hashlib import sha256
from pathlib import Path

from pipeline.downloads.clip_files import make_file_stem
from pipeline.downloads.messages import ClipResult, FetchAnswer, FetchRequest, make_failure
from pipeline.downloads.video_queue import VideoTask
from pipeline.downloads.worker_pool import WorkerLost


def make_request(
    task: VideoTask, clips_dir: Path, work_dir: Path, *, is_linked: bool
) -> FetchRequest:
    """Return the request for a video.

    Args:
        task: the video and its clips.
        clips_dir: where the clips go in the end.
        work_dir: below which each video has a folder.
        is_linked: link the user's own file instead of copying it.
    """
    return {
        "url": task.url,
        "is_linked": is_linked,
        "work_dir": str(work_dir / work_folder_of(task.url)),
        "clips_dir": str(clips_dir),
        "clips": [
            {
                "clip_id": history.clip_id,
                "start_seconds": history.start_seconds,
                "end_seconds": history.end_seconds,
                "file_stem": make_file_stem(history.clip_id),
                "needs_full_check": history.was_found_damaged,
            }
            for history in task.histories
        ],
    }


def make_lost_answer(task: VideoTask, lost: WorkerLost, limit_seconds: float) -> FetchAnswer:
    """Return the answer for a worker that gave none: all clips of its video failed."""
    if lost.is_late:
        limit = f"download.time_limit_seconds ({limit_seconds:g} s)"
        # Usually a connection that sends nothing any more.
        failure = make_failure("network", f"timed out: no result within {limit}")
    else:
        failure = make_failure("unknown", lost.text)
    results: list[ClipResult] = [
        {**failure, "clip_id": history.clip_id} for history in task.histories
    ]
    return {"clips": results, "retry_after_seconds": None}


def work_folder_of(url: str) -> str:
    """Return the name of a video's work folder: the same in every run, so that files are found."""
    return sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:24]
