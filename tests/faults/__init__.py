"""The fault matrix: every fault at every call, in front of the real embedded server.

    python -m tests.faults.matrix            # all of it; --help says how to choose
    python -m tests.faults.soak --minutes 15

``proxy`` carries out faults, ``plays`` are the ways in which an answer goes wrong, ``catalogue`` lists the
faults, ``calls`` the calls, ``cell`` runs one fault at one call and judges it, ``matrix`` runs many cells.
"""
