"""What papers publish: their test sets, and the results in their tables.

- ``test_sets.py``: ``find_test_sets``, ``get_test_set``, ``find_subset_ids``: test sets by name
- ``test_set_tables.py``: ``load_test_set``: ground truth for who has not run the pipeline
- ``published_rows.py``: ``PUBLISHED``: the rows of their tables
- ``own_names.py``: which method and training data of ours a row's are
- ``method_forms.py``: ``find_form``: what of each method is its authors', and what is ours
- ``comparability.py``: ``explain_incomparability``: which of our results stand beside them
"""
