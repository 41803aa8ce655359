"""What people are told of what happened on a worker."""

import pytest
from ray.exceptions import RayTaskError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from ray.train.v2.api.exceptions import WorkerGroupError

from pipelines.runtime.cluster import plain_errors
from pipelines.storage.errors import AccessDenied, StoreUnavailable


def of_a_task(cause: Exception) -> Exception:
    return RayTaskError("work", "Traceback ...", cause)


def of_a_training_worker(cause: Exception) -> Exception:
    return WorkerGroupError("Traceback ...", {0: UserExceptionWithTraceback(cause, "Traceback")})


@pytest.mark.parametrize("wrapped", [of_a_task, of_a_training_worker])
@pytest.mark.parametrize("cause", [AccessDenied("no key"), StoreUnavailable("no answer")])
def test_what_a_worker_raised_for_people_is_raised(wrapped, cause):
    with pytest.raises(type(cause)) as told, plain_errors():
        raise wrapped(cause)
    assert told.value is cause


@pytest.mark.parametrize("wrapped", [of_a_task, of_a_training_worker])
def test_anything_else_keeps_what_ray_says_of_it(wrapped):
    error = wrapped(ZeroDivisionError())
    with pytest.raises(type(error)) as told, plain_errors():
        raise error
    assert told.value is error
