"""The base of the library: everything that the other rooms stand on, and nothing about videos.

In reading order:

- ``project``: ``Project`` knows params.yaml and where each file of a checkout is
- ``local_settings``: what belongs to one user and one machine, such as secrets
- ``secrets``: ``hide_secrets`` keeps them out of texts
- ``proxy``: ``use_proxy`` sends all requests through a proxy
- ``parameters``: ``build`` makes a parameter dataclass from a section of params.yaml
- ``user_files``: ``noted_user_files``, ``have_user_files_changed``, ``find_stage_files`` - notice
  that files of the user's own changed
- ``os_errors``: ``report_error`` and ``explain_os_errors`` turn errors into messages
- ``progress``: ``Progress`` shows how far long work is
- ``disk``: ``link_file``, ``require_space``
- ``locks``: ``hold_lock`` lets one process at a time do something
- ``http``: ``fetch_file``, ``fetch_large_file``, ``open_url``
- ``archives``: ``unpack_archive``, ``iter_tar``, ``iter_zip``, ``explain_damage``
- ``import_closure``: which modules of the project a module imports
"""
