"""Reading and writing, wherever the files lie: names, file systems, retries, and the store.

Knows nothing of clips, tables or jobs. Start with ``store``: everything that makes an output right
rests on its two writes, *write* (whole or not at all) and *create* (only where nothing is).
``errors`` says which failures pass and which do not; ``retry`` acts on it.
"""
