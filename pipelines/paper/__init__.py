"""The paper's Tables 2 to 4: their rows as data, and the commands that reproduce them.

Knows the training steps, which it calls one after the other. Start with ``recipes``, which is data
and imports neither Ray nor torch, then ``reproduce``; ``report`` writes the paper's figures beside
ours.
"""
