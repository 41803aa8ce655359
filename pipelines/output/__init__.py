"""An output: tables that nothing is lost from and nothing is in twice.

Knows storage and the schemas of the tables, but neither Ray nor torch. Start with ``layout``, which
names every file of an output. Rows come in through ``staging``; ``commit_log`` decides which count,
and its head says why each clip counts once; ``publication`` makes the tables. ``rewriting`` merges
published rows or leaves some out, for ``compaction`` and ``erasure``. ``recovery`` finishes what a
killed job has left. ``status`` and ``verification`` look at the result; ``query`` asks it in SQL,
by the ``views`` that also lie beside the tables. ``damage`` says how a file that was changed is
seen; ``redoing`` and ``rebuilding`` mend what was lost.
"""
