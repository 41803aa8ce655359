"""The paper's Tables 2 to 4: their rows as data, and the commands that reproduce them.

Knows the training steps, which it calls one after the other. Start with ``recipes``, which is data.
``settings`` makes networks of it (neither imports Ray or torch), ``reproduce`` has them trained,
and ``report`` writes the paper's figures beside ours. ``bundled_recipe`` and ``bundled_model`` do
the same for the model in the package.
"""
