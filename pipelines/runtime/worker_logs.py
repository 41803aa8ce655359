"""``--verbose`` on a cluster: what this program's loggers say in Ray's workers, said by the driver.

Ray itself could pass on all that workers print: its own notes and the warnings of every package
among it, with what repeats left out. So the workers hand the records of our loggers, and no others,
to an actor; the driver takes them from there and handles them as it handles its own.
"""

import atexit
import logging
import logging.handlers
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

LOGGERS: Final = ("pipelines", "tagger")
ACTOR: Final = "pipelines-worker-logs"  # one for a job: the names of each job are its own
TAKE_S: Final = 0.5  # between two looks of the driver
MOST_RECORDS: Final = 10_000  # that wait for the driver; the oldest go first


def wanted() -> bool:
    """Whether the driver tells what happens at level INFO."""
    return logging.getLogger(LOGGERS[0]).isEnabledFor(logging.INFO)


def options() -> dict[str, Any]:
    """For ``ray.init``: each worker sends its records of level INFO and above."""
    return {"runtime_env": {"worker_process_setup_hook": _hook()}}


def _hook() -> Callable[[], None]:
    """What a worker does first. A function inside a function travels whole: when it runs, a worker
    does not know yet where this program is.
    """
    name, loggers = ACTOR, LOGGERS

    def send_records() -> None:
        import logging.handlers
        import os
        import socket

        class ToDriver(logging.handlers.QueueHandler):
            """Puts records, made ready to travel, into the actor; waits for nothing."""

            def enqueue(self, record: logging.LogRecord) -> None:
                import ray

                record.msg = f"worker {os.getpid()} on {socket.gethostname()}: {record.msg}"
                ray.get_actor(name).add.remote(record)

            def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
                """Nobody takes records before the actor is there, or when it is gone."""

        for each in loggers:
            logging.getLogger(each).addHandler(ToDriver(None))  # type: ignore[arg-type]
            logging.getLogger(each).setLevel(logging.INFO)

    return send_records


def tell() -> None:
    """From now on tell what workers send, from a thread of its own, until this process ends."""
    import ray

    actor = ray.remote(num_cpus=0, max_restarts=-1)(_Records).options(name=ACTOR).remote()
    ended = threading.Event()
    thread = threading.Thread(target=_tell, args=(actor, ended), name="worker logs", daemon=True)
    thread.start()

    def finish() -> None:
        ended.set()
        thread.join(5.0)

    atexit.register(finish)  # runs before Ray's own, which ends the actor


def _tell(actor: Any, ended: threading.Event) -> None:
    import ray

    last = False
    while not last:
        last = ended.wait(TAKE_S)
        try:
            records = ray.get(actor.take.remote())
        except ray.exceptions.RayError:  # it comes back, or the cluster is lost and others say so
            continue
        for record in records:
            logging.getLogger(record.name).handle(record)


class _Records:
    """The actor between workers and driver."""

    def __init__(self) -> None:
        self._records = deque[logging.LogRecord](maxlen=MOST_RECORDS)

    def add(self, record: logging.LogRecord) -> None:
        self._records.append(record)

    def take(self) -> list[logging.LogRecord]:
        """Give what has come, once."""
        records = list(self._records)
        self._records.clear()
        return records
