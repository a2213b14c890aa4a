"""The report: one self-contained page about a run.

In reading order:

- ``data``: what the page is made from: ``load_inputs`` collects it from a checkout;
- ``sections``: the sections of the page as plain data, and the shapes of their charts;
- ``gallery``: samples with pictures, maps and sound, and the pictures that the page opens with;
- ``evaluation``: ``collect_evaluation``: results and scores, as all sections need them;
- ``build_report``: ``build_report`` writes the page and the tables;
- ``plot_tables``: ``make_plot_tables``, for ``dvc plots``;
- ``browse``: ``write_browse_page``, a page of samples before anything is trained;
- ``page``: ``render_page`` turns that data into HTML with the templates of ``templates/``.

The stage ``evaluate`` does not depend on this folder: after a change of the page alone, only the
page is made again.
"""
