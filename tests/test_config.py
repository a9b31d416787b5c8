"""``Config``: what it refuses, and that two of them share nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import PARAMS, PROMPT, client_of

import tinkex
from tinkex import Config, ServiceClient, SessionManager
from tinkex.errors import (
    ConfigError,
    InputError,
)
from tinkex.testing import TinkerServer


@pytest.mark.usefixtures("nothing_left")
def test_bad_arguments_send_nothing(server: TinkerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no API key"):
        ServiceClient(base_url=server.url)
    with pytest.raises(ConfigError, match="malformed"):
        ServiceClient(base_url=server.url, api_key="secret-word")
    with pytest.raises(InputError), SessionManager() as manager:
        client_of(server, session_manager=manager)
    assert len(server.requests) == 0


@pytest.mark.usefixtures("nothing_left")
def test_two_configs_share_nothing(server: TinkerServer) -> None:
    with TinkerServer() as proxy_like:
        # Two keys on one server, and a third on another, all from many threads.
        tenants = {
            "tml-one": (server, {"X-Tenant": "one"}),
            "tml-two": (server, {"X-Tenant": "two"}),
            "tml-three": (proxy_like, {"X-Tenant": "three"}),
        }
        clients = {
            key: ServiceClient(
                config=Config(base_url=home.url, api_key=key, default_headers=headers, project_id=key),
                heartbeat_interval=0.05,
            )
            for key, (home, headers) in tenants.items()
        }
        samplers = {
            key: client.create_sampling_client(base_model="tinkex/byte-lm") for key, client in clients.items()
        }

        def call(number: int) -> None:
            samplers[list(tenants)[number % 3]].sample(PROMPT, 1, PARAMS).result(60)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(call, range(1000)))
        for client in clients.values():
            client.close()
        keys_of: dict[tuple[str, int], set[str]] = {}
        for home in (server, proxy_like):
            for request in home.requests:
                key = request.secrets["x-api-key"]
                assert tenants[key] == (home, {"X-Tenant": request.headers["x-tenant"]})
                keys_of.setdefault((home.url, request.connection), set()).add(key)
        assert all(len(keys) == 1 for keys in keys_of.values())
        count = len(server.requests.to("/asample")) + len(proxy_like.requests.to("/asample"))
        assert count == 1000
        projects = {
            r.secrets["x-api-key"]: r.json()["project_id"] for r in server.requests.to("/create_session")
        }
        assert projects == {"tml-one": "tml-one", "tml-two": "tml-two"}


def test_a_malformed_key_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        Config(api_key="sk-someone-elses")
    assert "someone" not in str(caught.value)


KEY = "tml-" + "k3y0f7h3t3st" * 3


@pytest.mark.parametrize("key", [KEY + "\n", "tml-with space", KEY.replace("tml-", "lmt-"), "tml-ключ"])
def test_a_malformed_key_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(tinkex.ConfigError) as caught:
        tinkex.Config(base_url="http://127.0.0.1:1", api_key=key)
    assert key.strip() not in str(caught.value)
