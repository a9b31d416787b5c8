"""``python -m tinkex`` is the ``tinkex`` command."""

from tinkex.cli import main

main()
