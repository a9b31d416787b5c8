"""``python -m tutor SENTENCE...``: teach the sentences and print the path of the weights."""

import sys

from tutor import teach

print(teach(sys.argv[1:], steps=3).path)
