"""The training steps: prepare, finetune, embed, fit, evaluate.

Each step is a module with a ``run``; none imports another. What they leave for each other lies in a
work folder, which ``workfolder`` reads and writes. ``jobs`` says what each step is told, ``specs``
which networks it may be asked for, ``splits`` which clips it uses, ``ray_train`` how networks are
trained on Ray Train, and ``train_worker`` what each of its workers does.
"""
