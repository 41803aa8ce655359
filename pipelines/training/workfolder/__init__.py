"""The work folder that the training steps share: what each leaves there for the next.

One module per part: ``patches`` (prepare), ``extractors`` (finetune), ``embeddings`` (embed),
``heads`` (fit). Each names its files, reads them and checks that they belong together. They stand
on ``shards`` (Parquet files), ``takes`` (clips in memory) and ``networks`` (weights and records).
``shared_reads`` holds what all networks of one process read. Start with ``patches``.
"""
