"""Jobs that keep an output in order: recordings forgotten, small files merged, a log made anew.

Each job is a function of its dataclass in ``jobs``; all work in this process and need no Ray. How
rows are taken out of published tables without a reader seeing any twice is in ``output.rewriting``,
what of a log the tables tell in ``output.rebuilding``. Start with ``forget``, then ``compact``.
"""
