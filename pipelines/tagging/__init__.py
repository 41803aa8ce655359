"""The ``tag`` job: from listed clips to published tables.

Knows inputs, output and runtime; only ``operators`` and the ``ray_*`` modules import Ray. Start
with ``run``, the job from beginning to end. A clip's path is in ``decoding`` (in a process of its
own), ``stages`` (plain callables), ``staged_rows`` and ``operators`` (the same stages on Ray Data);
``tracks`` makes clips of audio tracks.
"""
