"""Who may change what: one bearer token for the operator's actions. Without a token recray trusts its loopback only."""

import hmac
from collections.abc import Callable
from ipaddress import ip_address

from fastapi import HTTPException, Request


def operator_only(token: str) -> Callable[[Request], None]:
    """A FastAPI dependency that lets an operator through: by the token, or from loopback when no token is set."""

    def check(request: Request) -> None:
        said = request.headers.get("authorization", "")
        if token:
            if not hmac.compare_digest(said.encode(), f"Bearer {token}".encode()):
                raise HTTPException(401 if not said else 403, "this needs the operator's token as 'Authorization: Bearer ...'")
        elif not _is_loopback(request.client.host if request.client else ""):
            raise HTTPException(403, "this is open to loopback only until RECRAY_ADMIN_TOKEN is set")

    return check


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
