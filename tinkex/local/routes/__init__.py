"""The endpoints, by subject. Each module has `routes(state)`, a Flask blueprint."""
