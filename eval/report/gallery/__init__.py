"""Samples with pictures, maps and sound.

- ``choice``: ``choose_samples``: the best, the worst and the median of each model
- ``cards``: ``CardMaker``: a sample in few bytes
- ``contours``: ``trace_marked``: the outline of what is marked and scored
- ``form``: ``view_form``: what one can filter by
- ``opening``: ``choose_opening``, ``view_opening``: the pictures that the page opens with
- ``facts``, ``sound``: what a card says of its sample, and three seconds of MP3
"""
