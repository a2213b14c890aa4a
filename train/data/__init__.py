"""Turn cached features into batches that a network reads.

In the order in which data pass through:

- ``splits``: which samples are for training, selection and test.
- ``feature_readers``: open the cached features of a model; leave out samples that lack one.
- ``order``: the order in which an epoch visits the samples.
- ``sample_source.SampleSource``: read the samples at given positions as one batch.
- ``random_crops``: where each training sample is cropped and whether it is flipped.
- ``collate``: join the arrays of several samples into one batch.
- ``samples_in_memory``: keep a whole data set in memory.
- ``loader.BatchLoader``: iterate over the batches of an epoch; can resume inside an epoch.
- ``device_copies``: copy batches to a GPU while it computes.
- ``augmentation.prepare_inputs``: resize, crop, flip and normalize a batch on its device.
"""
