# Each target calls tox (`pip install tox`); `make` alone runs all that must pass before a merge.

.PHONY: check test lint types dependencies conformance torch cookbook faults soak format benchmarks

check:
	tox run-parallel -p 2

test:
	tox run -e py

lint types conformance torch cookbook faults soak:
	tox run -e $@

dependencies:
	tox run -e oldest,newest

format:
	tox run -e format

benchmarks:
	python3 -m benchmarks
