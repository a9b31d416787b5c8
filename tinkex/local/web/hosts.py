"""The hosts that the server answers to: protection against web pages that try to use it.

A web page may send requests to a server on the reader's own machine. The browser names the page in the header
``Origin``. A page may also have a host name that is made to point at this machine (DNS rebinding). Its
requests reach the server, and the browser sends that name as ``Host``. So the server refuses every request
whose ``Host`` or ``Origin`` is not one of its own hosts.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from tinkex.local.protocol.refused import Refused
from tinkex.local.web.request import Request

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ALL_INTERFACES = ("", "0.0.0.0", "::")
_HOST = re.compile(r"(?:\[(?P<literal>[^\[\]]+)\]|(?P<name>[^\[\]:/@,\s]+))(?::[0-9]*)?")


class Hosts:
    """The names and addresses by which clients may address a server.

    These are the loopback names, the address on which the server listens, and ``more``. A server that
    listens on all interfaces may be addressed by any IP address too, because nobody can make an address
    point elsewhere. Requests from web pages at other IP addresses are still refused.
    """

    def __init__(self, listens_on: str, more: Iterable[str]) -> None:
        self._names = {name.lower().rstrip(".") for name in (*_LOOPBACK, listens_on, *more)}
        self._any_address = listens_on in _ALL_INTERFACES

    def check(self, request: Request) -> None:
        """Raise ``Refused`` (403) if the request is for a foreign host or comes from a page of one."""
        host, origin = request.header("Host"), request.header("Origin")
        name = None
        if host is not None:
            name = _name(host)
            if name not in self._names and not (self._any_address and _is_address(name)):
                raise Refused(403, f"this server does not go by the host {host!r}")
        if origin is not None:
            page = _name(origin.partition("://")[2])
            if page is None or (page not in self._names and page != name):
                raise Refused(403, f"this server takes no requests from pages of {origin!r}")


def _name(host: str) -> str | None:
    """The host without its port, in lower case; None if that is no host."""
    found = _HOST.fullmatch(host)
    return None if found is None else (found["literal"] or found["name"]).lower().rstrip(".")


def _is_address(name: str | None) -> bool:
    try:
        ipaddress.ip_address(name or "")
    except ValueError:
        return False
    return True
