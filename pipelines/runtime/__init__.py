"""What the jobs run on: Ray, limits, signals, a child process to decode in, standard streams.

Knows storage's errors and nothing of what the jobs do. Ray is imported when a job joins or starts
it. Start with ``cluster``. ``isolation`` says what becomes of a decoder that hangs, crashes or eats
all memory; ``ray_errors`` and ``liveness`` say what becomes of a job whose cluster does. What is
shown passes through ``visible`` and ``standard_streams``.
"""
