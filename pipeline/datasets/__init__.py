"""Datasets: which clips and samples each one has, and everything else that is particular to it.

Read ``dataset.py`` first: ``Dataset`` is the interface, ``names()`` lists the datasets in this
folder and ``load(name)`` imports one. Each dataset is one module, or one package with a module
``dataset.py``, that ends with ``DATASET = Dataset(...)``. A new file here is a new dataset.
``listing.py`` writes the two tables of a dataset.

- ``sample/``: clips rendered on this machine
- ``table``: a file of the user's own that lists clips and samples; any other name is such a dataset
- ``local``: a folder of the user's own videos
- ``flickr``: Flickr-SoundNet
- ``vggsound``: VGG-Sound and VGG-SS
- ``stills/``: still pictures with sounds: IS3, VPO, AVSBench, MUSIC, duets, VGG-Instruments
- ``urbansas/``: street scenes with boxes of sounding vehicles
"""
