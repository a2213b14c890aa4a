"""What papers name, by the names of our results: methods and training data."""

# a paper's method -> the field `method` of our results
OWN_METHODS = {
    "LVS": "lvs",
    "EZ-VSL": "ezvsl+ogl_l1",
    "EZ-VSL without OGL": "ezvsl",
    "OGL (L1)": "ogl_l1",
    "Hear The Flow": "htf",
    "vision-only+CF+TF": "vision_only",
    "flow": "flow_8bit",
    "FNAC": "fnac",
    "SLAVC": "slavc",
    "SSL-TIE": "ssltie",
    "HardPos": "hardpos",
    "Senocak 2023": "sslalignment",
    "SSPL": "sspl",
    "CoarseToFine": "coarsetofine",
    "AVObject": "avobject",
    "Attention10k": "attention10k",
    "RCGrad": "rcgrad",
    "FlowGrad-H": "flowgrad_h",
    "FlowGrad-IC": "flowgrad_ic",
    "FlowGrad-EN": "flowgrad_en",
}
HEARD = "VGG-Sound heard 110 (70k)"
# Method and training data -> the field `trained_on` of our results.
# Lists of one name differ between repositories, so each method has its own.
TRAIN_SPLITS = {
    ("LVS", "Flickr 10k"): "flickr/flickr_10k",
    ("LVS", "Flickr 144k"): "flickr/flickr_144k",
    ("LVS", "VGG-Sound 144k"): "vggsound/vggss_144k",
    ("LVS", "VGG-Sound full"): "vggsound/vggsound_train",
    ("EZ-VSL", "Flickr 10k"): "flickr/flickr_10k",
    ("EZ-VSL", "Flickr 144k"): "flickr/flickr_144k",
    ("EZ-VSL", "VGG-Sound 10k"): "vggsound/vggss_10k",
    ("EZ-VSL", "VGG-Sound 144k"): "vggsound/vggss_144k",
    ("EZ-VSL", "VGG-Sound full"): "vggsound/vggsound_train",
    ("EZ-VSL", HEARD): "vggsound/vggss_heard",
    ("Hear The Flow", "Flickr 10k"): "flickr/htf_flickr_10k",
    ("Hear The Flow", "Flickr 144k"): "flickr/htf_flickr_144k",
    ("Hear The Flow", "VGG-Sound 10k"): "vggsound/htf_vgg_10k",
    ("Hear The Flow", "VGG-Sound 144k"): "vggsound/htf_vgg_144k",
    ("Hear The Flow", "VGG-Sound heard 110"): "vggsound/vggss_heard",
    ("FNAC", "VGG-Sound 144k"): "vggsound/fnac_vgg_144k",
    ("SLAVC", "VGG-Sound 144k"): "vggsound/vggss_144k",
    ("SSL-TIE", "VGG-Sound 144k"): "vggsound/ssltie_vgg_144k",
    # Which list these used is not known here (`published_rows._OTHER_LIST`).
    ("Attention10k", "Flickr 144k"): "flickr/flickr_144k",
    ("Attention10k", "VGG-Sound 144k"): "vggsound/vggss_144k",
    ("AVObject", "VGG-Sound 144k"): "vggsound/vggss_144k",
    ("CoarseToFine", "VGG-Sound 144k"): "vggsound/vggss_144k",
    ("HardPos", "VGG-Sound 144k"): "vggsound/vggss_144k",
    ("SSPL", "VGG-Sound 144k"): "vggsound/vggss_144k",
    ("Senocak 2023", "VGG-Sound 144k"): "vggsound/vggss_144k",
    ("RCGrad", "VGG-Sound"): "vggsound/vggsound_train",
    ("FlowGrad-H", "VGG-Sound"): "vggsound/vggsound_train",
    ("FlowGrad-IC", "Urbansas (unlabelled)"): "urbansas/urbansas_unlabelled",
    ("FlowGrad-EN", "Urbansas (unlabelled)"): "urbansas/urbansas_unlabelled",
}
NUM_CLIPS = {  # of training data
    "Flickr 10k": 10_000,
    "Flickr 144k": 144_000,
    "VGG-Sound 10k": 10_000,
    "VGG-Sound 144k": 144_000,
    HEARD: 59_468,
}
# methods whose released weights are those of their rows
WITH_RELEASED_WEIGHTS = {"RCGrad", "FlowGrad-H", "FlowGrad-IC", "FlowGrad-EN"}
