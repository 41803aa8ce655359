"""``search``: segments of the tables that sound like a recording, or like a clip of the tables.

    job             what the verb is told
    run             from what the command names to answers
    queries         what QUERY names: a clip of the tables, or a recording
    recordings      recordings decoded and embedded
    search          ``search(tables, embedding)``: Arrow in and out, for programs
    table_files     the table files of one model that count, and rows looked up in them
    parquet_rows    one table file opened, and rows looked up in it
    clips           the recordings behind segments, and the current version of each
    pieces          the table of embeddings divided into work, counted against the log
    compare         this work done: in threads here, or on Ray
    scan            the best segments of one piece: what a thread or a task does
    on_ray          the tasks

It reads the tables and writes nothing. Start with ``search``, then ``scan``. Only ``on_ray``
imports Ray, and only a recording that is searched for needs a model.
"""
