"""``python -m tinkex.cli`` is the ``tinkex`` command."""

from tinkex.cli import main

main()
