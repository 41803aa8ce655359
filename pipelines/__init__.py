"""The jobs: archives in, tables out; labelled sounds in, models out.

Packages stand on floors; each imports only from the floors below it (``tests/test_layers.py``)::

    cli                              the verbs, their flags, exit codes, what a terminal shows
    paper   demo   searching         the rows of the paper's tables; the demo; what sounds alike
    retagging                        tables from the embeddings of tables
    tagging   training   assets      the tag job; the training steps; downloads
    housekeeping   exporting         recordings forgotten, small files merged; label files
    reporting                        a page to look, listen and correct
    inputs   output   runtime        what to tag; where tables go; Ray, signals, child processes
    storage                          reading and writing, with retries

Below all of them lies ``tagger``, the method itself, which knows no cluster and no bucket. Start
reading at ``tagging.run``: it is the job that everything else is for.
"""
