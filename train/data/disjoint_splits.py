"""Training, selection and test sets must not share a video; found out here, before anything is trained."""

from collections.abc import Mapping, Sequence

from earshot.errors import DataError

_NUM_NAMED = 3


def require_disjoint(
    sets: Mapping[str, Sequence[str]], *, video_of: Mapping[str, str] | None, selection: str = "val"
) -> None:
    """Raise ``DataError`` when two of the sets (name -> sample ids) have a video in common.

    With ``selection`` ``test`` the val set plays no part and is not looked at.
    """
    names = [name for name in sets if not (name == "val" and selection == "test")]
    videos = {name: {_video(sample_id, video_of) for sample_id in sets[name]} for name in names}
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            common = sorted(videos[first] & videos[second])
            if common:
                what = "videos" if video_of is not None else "samples"
                more = ", ..." if len(common) > _NUM_NAMED else ""
                raise DataError(
                    f"the {first} and {second} splits share {len(common)} {what} "
                    f"({', '.join(common[:_NUM_NAMED])}{more}); expected none, or results would say too much"
                )


def _video(sample_id: str, video_of: Mapping[str, str] | None) -> str:
    if video_of is None:
        return sample_id
    if sample_id not in video_of:
        raise DataError(f"sample {sample_id!r} has no video id")
    return video_of[sample_id]
