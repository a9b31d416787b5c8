"""Custom losses: Python functions of the user, run in this process or traced for the server."""
