"""What the page is made from.

- ``inputs``: ``load_inputs`` collects everything (``ReportInputs``) from a checkout
- ``software``: ``describe_software``: versions, the commit, the hash of the requirements
- ``result_rows``: rows of results.json grouped into tables, their order and their numbers
- ``sample_scores``: ``collect_scores``: the scores of single samples
- ``exports``: the tables as Markdown, CSV and LaTeX
"""
