"""What people are told of what happened on a worker, or to the cluster."""

import pytest
from ray import exceptions as of_ray
from ray.exceptions import RayTaskError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from ray.train.v2.api.exceptions import WorkerGroupError

from pipelines.runtime.errors import ClusterLost
from pipelines.runtime.liveness import Part
from pipelines.runtime.ray_errors import _tells_of_loss, plain_errors
from pipelines.storage.errors import AccessDenied, StoreUnavailable


def of_a_task(cause):
    return RayTaskError("work", "Traceback ...", cause)


def of_a_training_worker(cause):
    return WorkerGroupError("Traceback ...", {0: UserExceptionWithTraceback(cause, "Traceback")})


def itself(cause):
    return cause


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


@pytest.mark.parametrize("wrapped", [itself, of_a_training_worker])
@pytest.mark.parametrize(
    "cause",
    [
        of_ray.LocalRayletDiedError(),
        of_ray.NodeDiedError("node 1 died"),
        of_ray.ActorDiedError(),
        of_ray.ActorUnavailableError("no answer from the actor", None),
        of_ray.WorkerCrashedError(),
        of_ray.ObjectLostError("00" * 28, "127.0.0.1:1", "made here"),
        of_ray.OwnerDiedError("00" * 28, "127.0.0.1:1", "made here"),
    ],
    ids=lambda cause: type(cause).__name__,
)
def test_a_process_or_node_that_is_gone_is_no_defect(wrapped, cause):
    with pytest.raises(ClusterLost) as told, plain_errors():
        raise wrapped(cause)
    said = str(told.value)
    assert type(cause).__name__ in said
    assert "\n" not in said
    assert "start the same command again" in said


@pytest.mark.parametrize(
    "error",
    [
        of_ray.ActorDiedError(of_a_task(ZeroDivisionError())),
        of_ray.RaySystemError("cannot unpickle"),
        of_ray.OutOfMemoryError("killed by the memory monitor"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_our_code_may_have_done_stays_what_it_is(error):
    with pytest.raises(type(error)) as told, plain_errors():
        raise error
    assert told.value is error


def test_whatever_ray_raises_without_its_raylet_is_that():
    gone = [Part("the raylet", "127.0.0.1:1", 1.0)]
    assert _tells_of_loss(of_ray.RaySystemError("broken pipe"), gone)
    assert not _tells_of_loss(ZeroDivisionError(), gone)
