"""What INPUT names, and the bytes behind it.

Knows storage, and of clips only their identity: uri, version, size. Start with ``listing``, which
turns folders, globs, prefixes and manifests into one table of clips; ``reading`` then opens each
clip in the very version that was listed.
"""
