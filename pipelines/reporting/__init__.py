"""A page to look at an output, hear it, and say where the tagger is wrong.

``overview`` asks the tables what they hold; ``gallery`` chooses clips of each tag, and ``moments``
finds what the model said of them over time. ``hearing`` decodes their recordings in a process
apart; ``media`` makes pictures and sounds of them. ``recording`` looks at a single one in full.
``page`` puts it all into HTML. Start reading at ``run``.
"""
