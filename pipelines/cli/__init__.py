"""The command line: verbs, flags, exit codes, and what a terminal shows.

Knows every job, and imports one only when its verb is called, so that ``--help`` waits for neither
torch nor Ray. Start with ``main``.
"""
