"""Train a model on cached features.

In reading order:

- ``fit.fit``: train one model and write its run folder; the steps in order.
- ``training_data``: the samples that a run trains on, selects with and tests on.
- ``selection``: how an epoch is scored.
- ``lightning_module``: one training step and the learning rate.
- ``epoch_end``: what happens after each epoch: check, score, keep, log, stop early.
- ``best_weights``: the weights of the best epoch so far.
- ``collapse``, ``epoch_statistics``: stop a run that went wrong.
- ``training_state``: save the state from which a killed run resumes.
- ``history``: the metrics of each epoch, in memory, on the terminal and in DVCLive's files.
- ``devices``: Lightning's options for the hardware at hand.
- ``launcher``: which processes train together, started by srun, torchrun or Lightning.
- ``decision``: how they agree on whether to train.
- ``distributed``: several processes that compute the same as one.
"""
