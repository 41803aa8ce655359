"""Whether a Ray cluster lets this job in: asked before Ray is, which takes half a minute to say."""

from typing import Final

from tagger.errors import CommandError

ANSWER_S: Final = 5.0

_CHECK_ALIVE: Final = "/ray.rpc.NodeInfoGcsService/CheckAlive"  # with an empty message


def require_token(address: str) -> None:
    """Ask the head at ``address`` (host:port) whether it takes this job's token, or wants none.

    Whatever else is wrong there is left to ``ray.init``.

    Raises
    ------
    CommandError : the cluster asks for a token, and this job has none, or another one
    """
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.exceptions import AuthenticationError

    try:
        with init_grpc_channel(address) as channel:
            channel.unary_unary(_CHECK_ALIVE)(b"", timeout=ANSWER_S)
    except AuthenticationError as error:  # RAY_AUTH_MODE=token, and no token to be found
        raise _refused(address) from error
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise _refused(address) from error


def _refused(address: str) -> CommandError:
    return CommandError(
        f"the Ray at RAY_ADDRESS={address} asks for a token that this job has not: set "
        "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's token, or RAY_AUTH_TOKEN_PATH to "
        "a file that holds it"
    )
