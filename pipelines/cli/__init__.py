"""The command line: verbs, their options and help, exit codes, and what a terminal shows.

``verbs`` names every verb: a dataclass whose fields are its options (``options`` reads them), whose
docstring is its help, and which knows how to carry itself out. Jobs are imported only then, so that
``--help`` waits for neither torch nor Ray. ``reference`` makes docs/options.md. Start reading at
``main``.
"""
