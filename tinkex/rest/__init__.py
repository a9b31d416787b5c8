"""The base class and the paging of the REST clients."""
