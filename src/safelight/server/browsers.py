"""Pages of other origins: which may ask, and what they may read."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

# What pages may read of an answer beside its body; and how long a browser need not ask again.
_SHOWN_HEADERS = (
    *("Retry-After", "ETag", "Content-Range", "Accept-Ranges", "X-Request-Id"),
    *("Preference-Applied", "Link", "Location"),
)
_PREFLIGHT_SECONDS = 86_400


def for_browsers(asgi: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """`asgi`, which pages of these origins may ask; never with what a browser keeps, like cookies.

    Keys are sent in headers, by pages that were given them: to be asked by any page gives nobody
    anything that he does not have.
    """
    if not origins:
        return asgi
    shown = CORSMiddleware(
        asgi,
        allow_origins=origins,
        allow_methods=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
        allow_headers=("*",),
        expose_headers=_SHOWN_HEADERS,
        max_age=_PREFLIGHT_SECONDS,
    )

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        # What no page sends needs none of it: nearly everything.
        of_page = any(name == b"origin" for name, _ in scope.get("headers", ()))
        await (shown if of_page else asgi)(scope, receive, send)

    return answer
