"""The published lists of Flickr-SoundNet: where each comes from, and the hash of its content.

A split has the name of its list: stoneMo/EZ-VSL (``flickr_10k``, ``flickr_144k``, ``flickr_test``:
249 ids), denfed/heartheflow (``htf_*``) and stoneMo/SLAVC (``flickr_sup_train``, and
``flickr_test_plus_silent`` with as many negatives as videos, which also gives ``flickr_test_250``).
"""

import re

from pipeline.lists.published_lists import ListFile

CLIP_ID = re.compile(r"[0-9]{4,20}")
CLIP_ID_WORDS = "a Flickr photo id (digits)"

URLS = ListFile("soundnet", "urls_public.txt")
NEGATIVES = ListFile(
    "slavc",
    "flickr_test_plus_silent.csv",
    "45a0d32b64a9ef9e567d3eaf4a4a29683cdb0f7f4e1924a0e26cde24fa298643",
)
ID_LISTS = {
    "flickr_10k": ListFile(
        "ezvsl",
        "flickr_10k.txt",
        "773429321cd7690710660446b4aab9157ef75fe9a1f6b788649989a8066a77b1",
    ),
    "flickr_144k": ListFile(
        "ezvsl",
        "flickr_144k.txt",
        "5368914670a8e41f27591a7d6818abe74132aefd199a2a3b1861aeafa2e20b99",
    ),
    "flickr_test": ListFile(
        "ezvsl",
        "flickr_test.csv",
        "faf5465bdb991cfb7506ccadef64dfea9e9bceb47e895d0e4dbdc2a0ca622871",
    ),
    "flickr_sup_train": ListFile(
        "slavc",
        "flickr_sup_train.txt",
        "af87c3a35d584d8792686fe8de5b21adaf331330b6e2b80c7d4998f60d4f9030",
    ),
    "htf_flickr_10k": ListFile(
        "htf",
        "flickr_train_10k.txt",
        "e2b5763330b9dad88d4cd656b42265dc63c1c477c5b3f46446c5364c9779c291",
    ),
    "htf_flickr_144k": ListFile(
        "htf",
        "flickr_train_144k.txt",
        "e9988e0327efce19f3d7217c5ff57feaa910de23c5144c1b27d26700274534a9",
    ),
    "htf_flickr_test": ListFile(
        "htf",
        "flickr_test_trimmed.csv",
        "eac34b3d1312ede25e9f64ffabb2b2ce02f4c407b49ba1d0bd627d433c522bf3",
    ),
    "htf_flickr_test_expanded": ListFile(
        "htf",
        "flickr_test_expanded.csv",
        "1a8ce19fb9c1c4d09ddf484563a32e35c21d1e915cb96afd06a6da4236f402a1",
    ),
}
# The tables of frames are published as pickles. Their content is pinned, not their bytes.
FRAMES, EXPANDED_FRAMES = "imagetoframe", "imagetoframe_expanded"
FRAMES_CONTENT_SHA256 = {
    FRAMES: "beff3363573c2bb1f6f051de972dc6b1a14a490e34986f76286dccd9149decab",
    EXPANDED_FRAMES: "c834defb753fbb204910b2244f431ff8bb24f123258c7cd71bb5e700d59089c0",
}
