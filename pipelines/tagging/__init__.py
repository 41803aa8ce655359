"""The ``tag`` job: from listed clips to published tables.

Knows inputs, output and runtime; only ``operators`` and ``committer`` import Ray. Start with
``run``, the job from beginning to end. A clip's path is in ``stages`` (plain callables),
``staged_rows`` and ``operators`` (the same stages on Ray Data); ``tracks`` makes clips of audio
tracks.
"""
