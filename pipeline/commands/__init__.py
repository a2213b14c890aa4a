"""The commands of ``python -m pipeline``, one module each.

A command's module has three names:

- ``HELP``: one line;
- ``add_arguments(parser)``: its options;
- ``run(arguments, project) -> int``: does the work and returns the exit code.

``MODULES`` maps each command to its module. ``arguments.py`` holds the options and the output
formats that commands share, ``sample_counts.py`` counts samples for ``status`` and ``missing``, and
``yaml_text.py`` changes values in params.yaml for ``use``.
"""

# In the order of `--help`. `import` is a word of Python, so its module has another name.
MODULES = {
    "use": "use",
    "plan": "plan",
    "doctor": "doctor",
    "status": "status",
    "missing": "missing",
    "retry": "retry",
    "reclassify": "reclassify",
    "import": "import_clips",
    "export": "export",
    "audit": "audit",
    "verify": "verify",
    "repair": "repair",
    "prune": "prune",
    "clips": "clips",
    "show": "show",
    "browse": "browse",
    "refresh": "refresh",
}
