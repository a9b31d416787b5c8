"""Fails unless at least 99 % of the symbols that the package exports have a type that every checker knows.

``pyright --verifytypes`` counts them, and itself fails under 100 %. It looks at the installed package, as in
``tox run -e types``; it does not see an editable one.
"""

import json
import os
import subprocess
import sys

LEAST = 0.99


def main() -> int:
    """Print the share, and the symbols that lack an annotation; returns the exit status."""
    # pyright looks for the package where the first "python" on PATH would look.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    command = [sys.executable, "-m", "pyright", "--verifytypes", "tinkex", "--ignoreexternal", "--outputjson"]
    pyright = subprocess.run(command, stdout=subprocess.PIPE, env={**os.environ, "PATH": path}, check=False)
    report = json.loads(pyright.stdout)
    completeness = report["typeCompleteness"]
    for symbol in completeness["symbols"]:
        # A class or function that uses an incomplete type is incomplete as well; only the causes are shown.
        if symbol["isExported"] and any("missing type" in each["message"] for each in symbol["diagnostics"]):
            print(f"{symbol['name']} needs a type annotation")
    score = completeness["completenessScore"]
    print(f"{score:.1%} of the exported symbols have a complete type")
    return 0 if score >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
