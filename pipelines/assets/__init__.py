"""What comes from elsewhere: FSDKaggle2018 and the published VGGish weights.

Everything downloaded is checked by hash and may be given as a local file instead. Start with
``fetch`` (the data set) or ``weights`` (the network); both stand on ``download`` and ``unpacking``.
"""
