"""The report: one self-contained page about a run.

In reading order:

- ``inputs``: ``load_inputs`` collects what the page shows (``ReportInputs``) from a checkout;
- ``build_report``: ``build_report`` writes the page and the tables;
- the sections of the page as plain data: ``summary_cards``, ``availability``,
  ``results_tables`` with ``published_table``, ``protocol_cards``, ``score_charts``,
  ``training_curves`` and ``gallery`` (with ``facts`` and ``sound``);
- ``browse``: ``write_browse_page``, a page of samples before anything is trained;
- ``charts``: shapes of the SVG charts;
- ``page``: ``render_page`` turns that data into HTML with the templates of ``templates/``.
"""
