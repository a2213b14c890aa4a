"""The methods: one module each, with its ``Parameters`` and its ``Model``.

- ``localizer``: the interface of every model.
- ``training_parameters``: the settings that all methods share.
- ``registry``: find a method by name; make its parameters and its network.
- all others: a method each, named as in docs/training.md.
"""
