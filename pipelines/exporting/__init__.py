"""Events as label files, for the programs in which people look at recordings and hear them.

``label_files`` writes the formats, ``export`` reads the events and lays the files out.
"""
