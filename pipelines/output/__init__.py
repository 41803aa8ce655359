"""An output: tables that nothing is lost from and nothing is in twice.

Knows storage and the schemas of the tables, but neither Ray nor torch. Start with ``layout``, which
names every file of an output, then ``commit_log``, whose head says why each clip counts once, then
``publication``, which makes the tables. ``status`` and ``verification`` look at the result.
"""
