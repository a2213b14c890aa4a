"""Samples with pictures, maps and sound.

- ``choice``: ``choose_samples``: the best, the worst and the median of each model
- ``cards``: ``CardMaker``: a sample in few bytes; ``view_form``: what one can filter by
- ``facts``, ``sound``: what a card says of its sample, and three seconds of MP3
"""
