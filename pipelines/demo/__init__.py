"""``make demo``: a dozen synthesised recordings, tagged by the real job.

Knows the tag job and nothing else. Start with ``run``; ``sounds`` is the synthesis.
"""
