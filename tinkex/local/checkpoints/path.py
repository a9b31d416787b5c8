"""Names of checkpoints: ``tinker://RUN/KIND/NAME``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tinkex.local.errors import Invalid

KINDS = {"weights": "training", "sampler_weights": "sampler", "external_weights": "external"}
"""The kinds of checkpoints: the name in paths, and the ``checkpoint_type`` in the protocol."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+=@-]{0,199}")


@dataclass(frozen=True)
class Key:
    """The identity of a checkpoint: the training run that saved it, its kind, and its name."""

    run: str
    kind: str
    name: str

    @property
    def path(self) -> str:
        """The path by which clients name the checkpoint."""
        return f"tinker://{self.run}/{self.kind}/{self.name}"

    @classmethod
    def parse(cls, path: str) -> Key:
        """Return the key that ``path`` stands for; raises ``Invalid`` if no checkpoint can have that path."""
        if not path.startswith("tinker://"):
            raise Invalid(f"path: must start with tinker://, is {path!r}")
        parts = path.removeprefix("tinker://").split("/")
        if (
            len(parts) != 3
            or parts[1] not in KINDS
            or not (_NAME.fullmatch(parts[0]) and _NAME.fullmatch(parts[2]))
        ):
            raise Invalid(f"path: must be tinker://RUN/{'|'.join(KINDS)}/NAME, is {path!r}")
        return cls(*parts)


def check_name(name: str) -> str:
    """Return ``name``; raises ``Invalid`` if no checkpoint can have that name."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"path: {name!r} must be 1 to 200 of A-Z a-z 0-9 _ . : + = @ - and not start with . or -"
        )
    return name
