# The habits of the house. `make check` is what the gate runs, less the installation.
.PHONY: check test test-long soak run bench bench-full docs

check:
	uv run ruff format --check .
	uv run ruff check .
	uv run pyright
	uv run lint-imports --no-logo
	uv run pytest
	uv run pytest -m long

test:
	uv run pytest

test-long:
	uv run pytest -m long

soak:
	TORCHDECK_SOAK=20 uv run pytest --timeout=3600 tests/faults

run:
	uv run torchdeck run quickstart

bench:
	uv run python benchmarks/bench.py

bench-full:
	uv run python benchmarks/bench.py --full --write docs/benchmarks.md

docs:
	uv run python benchmarks/reference_table.py
	uv run python docs/pictures.py
	uv run --extra report python docs/results.py
