"""The sections of the page as plain data, which the templates show.

- ``summary_cards``: what was found
- ``results_tables``, ``published_table``: our results, and published ones beside them
- ``score_charts``: success rates over thresholds, and scores by property of the samples
- ``training_curves``: curves and facts of each training
- ``availability``: what was requested and what is there
- ``protocol_cards``: what each protocol does with a map
- ``charts``: shapes of the SVG charts
"""
