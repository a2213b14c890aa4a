"""The sections of the page as plain data, which the templates show.

- ``summary``: what was found, and what to do next
- ``results_tables``: our results, and with ``published_table`` published ones beside them
- ``remarks``: sentences below these tables
- ``comparisons``, ``seeds``, ``further``: tables that stand below those of a test set
- ``negative_audio``: what a model marks when nothing sounds
- ``score_charts``: success rates by threshold, and scores by property of the samples
- ``training_curves``: curves and facts of each training
- ``availability``: what was requested and what is there
- ``protocol_cards``: what each protocol does with a map
- ``run_facts``: datasets, code, hardware and parameters
- ``charts``: shapes of the SVG charts
"""
