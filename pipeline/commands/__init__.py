"""The commands of ``earshot``, one module each.

A command's module has a click command ``run``, which does the work and returns the exit code.
``command_line.py`` names all commands, with the line that ``--help`` shows, and imports the module
of the one that is used.

``options.py`` holds the options that commands share, ``output.py`` prints rows as a table, csv or
json, ``sample_counts.py`` counts samples for ``status`` and ``missing``, ``origins.py`` says where
missing clips come from, ``sample_search.py`` finds a sample for ``show``, and ``yaml_text.py``
changes values in params.yaml for ``use``.
"""
