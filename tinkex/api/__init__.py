"""The endpoints: a function for each, with typed arguments and results. None of them has state, sleeps or retries."""
