"""Tables from tables: the heads of a model upon embeddings that an output holds.

``run`` is the verb. What one model has embedded becomes the rows of another with the same
extractors (``run``), or rows of an earlier version become what this one writes (``upgrading``).
Nothing is decoded and no patch is made; Ray is not needed. ``sources`` says whose embeddings serve,
``embedded`` reads them back, ``rows`` makes staged rows of them.
"""
