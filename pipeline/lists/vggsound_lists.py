"""The published lists of VGG-Sound clips: where each comes from, and the hash of its bytes.

A split has the name of its list: stoneMo/EZ-VSL (``vggss_*``), denfed/heartheflow (``htf_*``),
OpenNLPLab/FNAC_AVL (``fnac_*``), jinxiang-liu/SSL-TIE (``ssltie_*``), zjsong/SSPL (``sspl_*``) and
kaistmm/SSLalignment (``sslalignment_*``). Lists of one name differ between repositories: FNAC's
``vggss_144k.txt`` is not EZ-VSL's.
"""

import csv
import re
from pathlib import Path

from earshot.errors import DataError, quote
from pipeline.lists.published_lists import ListFile, decode_lines

CLIP_ID = re.compile(r"[A-Za-z0-9_-]{11}_[0-9]{6}")
CLIP_ID_WORDS = "a clip id such as 1a2b3c4d5e6_000030"

BOXES = ListFile(
    "vggss",
    "vggss.json",
    "ae300b4a259267e6fe839970d495862edd70bfe3da63d925bcdb34054ed3b15e",
    copies=("ezvsl/vggss.json",),
)
NEGATIVES = ListFile(
    "slavc",
    "vggss_test_plus_silent.csv",
    "905a009428e16d1108e5af112d8e682dbe1702a2ed897b3d56753ff587018e4e",
)
FULL = ListFile("vggsound", "vggsound.csv")
ID_LISTS = {
    "vggss_10k": ListFile(
        "ezvsl", "vggss_10k.txt", "9a19023b17aedc79001bbcb69ccd5c96f6af2f7b8ef1b12fa92a76050a0ae43e"
    ),
    "vggss_144k": ListFile(
        "ezvsl",
        "vggss_144k.txt",
        "a9a02f704e8bb2d746c43860e5830e7589e9311de5bd067459484ec5bb4bd529",
    ),
    "vggss_heard": ListFile(
        "ezvsl",
        "vggss_heard.txt",
        "db900e2df283236b3e5485ae95a4a09f0904f8da184fc7da6f1ab1d24f6c5aa2",
    ),
    "vggss_test": ListFile(
        "ezvsl",
        "vggss_test.csv",
        "971081929d45caf21a148a6ca968822d96e8316331d0cc0bafb1783acb4d2c35",
    ),
    "vggss_heard_test": ListFile(
        "ezvsl",
        "vggss_heard_test.csv",
        "70a01c6828e7b84531823616ebb2e32e75bbaf5e44c715fa366b61111ab33c4e",
    ),
    "vggss_unheard_test": ListFile(
        "ezvsl",
        "vggss_unheard_test.csv",
        "11883813db359df63e1a28f69bb53e1ceef7f5b8d68e0149de5792540acb9e17",
    ),
    "htf_vgg_10k": ListFile(
        "htf",
        "vgg_train_10k.txt",
        "2dc8c031db640f280c75ce54c2fd6da3e910415a6dedd5034e5868fa71707f0e",
    ),
    "htf_vgg_144k": ListFile(
        "htf",
        "vgg_train_144k.txt",
        "f1ec874c7913c1a775d68044163bde7eb4e77bf24e62022b9fef9ffdc7f3a456",
    ),
    "htf_vggss_test": ListFile(
        "htf",
        "vggss_test_trimmed.csv",
        "b59e784cd13caeea7c95fcdf82b2ba33eefa0e98e5d924fdc7f1f49d4970d73c",
    ),
    "fnac_vgg_10k": ListFile(
        "fnac",
        "vggss_10k.txt",
        "0f45948f847134eda966d039d212eb50bd13cf316dcd93726c8b594bc2e8235a",
        copies=("since2023/vggss_10k_fnac.txt",),
        is_name_shared=True,
    ),
    "fnac_vgg_144k": ListFile(
        "fnac",
        "vggss_144k.txt",
        "2a5721946e1c1ec0497ae0b347576226105650e7f6ee3075fce64e292953c8fc",
        copies=("since2023/vggss_144k_fnac.txt.gz",),
        is_name_shared=True,
    ),
    "ssltie_vgg_10k": ListFile(
        "ssltie",
        "train_vggss_train_10k.txt",
        "47b12e74a448b10f1d51fa7b4908b93c45f3be18099033e8e3ef735fa8caedb6",
        copies=("since2023/vggss_10k_ssltie.txt",),
    ),
    "ssltie_vgg_144k": ListFile(
        "ssltie",
        "train_vggss_train_144k.txt",
        "703eca24ff71c1fcfbdcde06d49a246151838f4a03620104fa8dd3b00e977e46",
        copies=("since2023/vggss_144k_ssltie.txt.gz",),
    ),
    "ssltie_vgg_190k": ListFile("ssltie", "train_vggss_190228.txt"),
    "ssltie_heard": ListFile(
        "ssltie",
        "openset/openset_train_110_70k.txt",
        "39304950ce89bf0b58b900fda463e06122a9db3422d8d10f1196d78dd72d1894",
        copies=("since2023/vggss_heard70k_ssltie.txt.gz",),
    ),
    "ssltie_vggss_test": ListFile(
        "ssltie",
        "test_vggss_4911.txt",
        "6d60cdd17757a7e10537d4bff0e6a53833d88beccffa0e58755c5d10fc50aead",
        copies=("since2023/vggss_test_4911_ssltie.txt",),
    ),
    "ssltie_heard_test": ListFile(
        "ssltie",
        "openset/openset_test_110_heard_2425.txt",
        "3bad0ab8d27e2eea7f2b4b8992eae5d301a091c26c7fc89c46ab697f43b5ddcc",
        copies=("since2023/openset_test_110_heard_2425.txt",),
    ),
    "ssltie_unheard_test": ListFile(
        "ssltie",
        "openset/openset_test_110_unheard_2463.txt",
        "1002bad83272bb6b7b7e1a26e8b3da07f2ce2fdfc2a4f694d442f0c53926be9f",
        copies=("since2023/openset_test_110_unheard_2463.txt",),
    ),
    "sspl_vggss_test": ListFile(
        "sspl",
        "vggss_test_4692.csv",
        "f075b27306ca213da3c56fe996cdf7a1b39ef7d6e0077c95be580fc5a60af98d",
        copies=("since2023/vggss_test_4692_sspl.csv",),
    ),
    "sslalignment_vggss_test": ListFile(
        "sslalignment",
        "ours_vggss.txt",
        "24546044696e8ea0aff172dc7acef36f84adfc7a00611c601c8ab7294ce3b6e2",
        copies=("since2023/vggss_test_4655_sslalignment.txt",),
    ),
}
# Splits of VGG-SS: all of their clips have boxes.
TEST_SPLITS = tuple(name for name in ID_LISTS if "test" in name.split("_"))
# Lists whose lines are names of files, or have begin and end in milliseconds.
NAMED_BY_FILES = frozenset(
    {
        *("ssltie_vggss_test", "ssltie_heard_test", "ssltie_unheard_test"),
        *("ssltie_vgg_190k", "sspl_vggss_test", "sslalignment_vggss_test"),
    }
)
_FULL_SPLITS = ("train", "test")


def read_full(path: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Read ``vggsound.csv``: ``YTID,start,label,split`` in each line, no header.

    Args:
        path: Of ``vggsound.csv``.

    Returns:
        The label of each clip, and the clips of ``train`` and of ``test``.

    Raises:
        DataError: A line is not as expected, or a clip appears twice.
    """
    labels: dict[str, str] = {}
    ids: dict[str, list[str]] = {split: [] for split in _FULL_SPLITS}

    reader = csv.reader(decode_lines(path), strict=True)
    try:
        for row in reader:
            if not row:
                continue
            where = f"{path}, line {reader.line_num}"
            clip_id, label, split = _parse_row(row, where)
            if clip_id in labels:
                raise DataError(f"{where}: clip {clip_id} appears twice")

            labels[clip_id] = label
            ids[split].append(clip_id)
    except csv.Error as error:
        raise DataError(
            f"{path}, line {max(reader.line_num, 1)}: not readable CSV: {error}"
        ) from None

    if not labels:
        raise DataError(f"{path}: is empty, expected YTID,start,label,split in each line")
    return labels, ids


def _parse_row(row: list[str], where: str) -> tuple[str, str, str]:
    """Return clip id, label and split of one line."""
    if len(row) != 4 or not re.fullmatch(r"\s*[0-9]{1,6}\s*", row[1]):
        words = "YTID,start,label,split with a whole second as start, and no header"
        raise DataError(f"{where}: found {quote(','.join(row))}, expected {words}")

    # The other lists write the start in six digits; this file has the bare number.
    clip_id = f"{row[0].strip()}_{int(row[1]):06d}"
    split = row[3].strip()
    if not CLIP_ID.fullmatch(clip_id) or split not in _FULL_SPLITS:
        raise DataError(
            f"{where}: found {quote(','.join(row))}, expected a YouTube id and train or test"
        )
    return clip_id, row[2].strip(), split
