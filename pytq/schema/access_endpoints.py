"""The REST endpoints about who may do what."""

from typing import Final

from pytq.schema import queries
from pytq.schema.access import (
    CallerView,
    LoginCode,
    NewCode,
    NewToken,
    Role,
    Session,
    TokenOrder,
    TokenView,
)
from pytq.schema.endpoint import Endpoint

ACCESS: Final[dict[str, Endpoint]] = {
    "create_token": Endpoint(
        "POST",
        "/tokens",
        "Make a token; this is the only time it is shown",
        "access",
        role=Role.ADMIN,
        answer=NewToken,
        body=TokenOrder,
        status=201,
        problems=(409,),
    ),
    "list_tokens": Endpoint(
        "GET",
        "/tokens",
        "List the tokens there are, not what they are",
        "access",
        role=Role.ADMIN,
        answer=list[TokenView],
    ),
    "revoke_token": Endpoint(
        "DELETE",
        "/tokens/{name}",
        "Revoke a token: it is good no more, and its connections are closed",
        "access",
        role=Role.ADMIN,
        place=queries.NamePlace,
        status=204,
        problems=(404,),
    ),
    "get_caller": Endpoint(
        "GET",
        "/me",
        "Who the server takes you for",
        "access",
        role=Role.VIEWER,
        answer=CallerView,
    ),
    "offer_login": Endpoint(
        "POST",
        "/logins",
        "Make a code that logs a browser in, with your rights: good once, for five minutes",
        "access",
        role=Role.VIEWER,
        answer=NewCode,
        status=201,
    ),
    "log_in": Endpoint(
        "POST",
        "/logins/redeem",
        "Turn a login code into a token that is good for a day",
        "access",
        role=None,
        answer=Session,
        body=LoginCode,
        status=201,
        problems=(401,),
    ),
}
