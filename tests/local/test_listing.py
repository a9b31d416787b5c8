"""Lists stay right while what they list comes and goes."""

from __future__ import annotations

import threading

from tinkex.local import LocalServer

from .conftest import Api


def test_runs_are_listed_while_sessions_end() -> None:
    with LocalServer() as server:
        over = threading.Event()

        def come_and_go() -> None:
            while not over.is_set():
                api = Api(server)
                for _ in range(3):
                    api.model(rank=1)
                api.post(f"sessions/{api.sid}/finish", reason={"type": "success"})
                api.http.close()

        threads = [threading.Thread(target=come_and_go) for _ in range(3)]
        for thread in threads:
            thread.start()
        api = Api(server)
        try:
            statuses = {api.http.get(api.root + "training_runs", timeout=20).status_code for _ in range(250)}
        finally:
            over.set()
            for thread in threads:
                thread.join(30)
        assert statuses == {200}
        api.http.close()
