"""Jobs that keep an output in order: recordings forgotten, small files merged.

Each job is a function of its dataclass in ``jobs``; both work in this process and need no Ray. How
rows are taken out of published tables without a reader seeing any twice is in ``output.rewriting``.
Start with ``forget``, then ``compact``.
"""
