"""The byte budget, which bounds the memory of the prompts on their way."""

from __future__ import annotations

from clients import PARAMS, PROMPT, config

import tinkex
from tinkex.testing import Hang, TinkerServer


def test_the_bytes_of_prompts_on_their_way_are_bounded(server: TinkerServer) -> None:
    server.on("/client/config", {"sample_dispatch_bytes_semaphore_size": 3 * 4096})
    held = [Hang() for _ in range(8)]
    server.once("/asample", *held)
    with tinkex.ServiceClient(config=config(server)) as service:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        futures = sampler.sample_many([PROMPT] * len(held), 1, PARAMS)
        for answered, hang in enumerate(held):
            on_their_way = min(answered + 2, len(held))
            assert len(server.requests.wait_for("/asample", on_their_way)) == on_their_way
            hang.release()
        for future in futures:
            future.result(60)
