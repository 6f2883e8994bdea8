# Everything runs in .venv, made from requirements.lock; nothing outside this folder is changed but by
# `make test`, which as root installs the Debian packages that the tests use.

PYTHON ?= python3
BIN := .venv/bin
SPEED ?= 1
SUITES ?= bookworm trixie
FUZZ_SECONDS ?= 600

.PHONY: run test bench evaluate fuzz duckdb-2 lint pictures dashboards completions lock deb lint-packages repo test-packages piuparts test-services image test-image clean

run: .venv/ready
	PYTHONPATH=tests $(BIN)/python -m lab.demo --speed $(SPEED)

test: .venv/ready
	tests/install-packages
	tests/install-cowrie
	$(MAKE) --no-print-directory lint
	$(BIN)/pytest -n 3 --dist loadfile

bench: .venv/ready
	tests/install-packages
	PYTHONPATH=tests $(BIN)/python -m bench

evaluate: .venv/ready
	PYTHONPATH=tests $(BIN)/python -m evaluation

# Mutated inputs at every door, FUZZ_SECONDS at each; for hours: make fuzz FUZZ_SECONDS=3600.
fuzz: .venv/ready
	tests/install-packages
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS)

# The tests of what uses the engine, on DuckDB 2: see docs/duckdb.md.
duckdb-2: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --no-deps --target build/duckdb-2 'duckdb>=2,<3'
	PYTHONPATH=build/duckdb-2 $(BIN)/pytest -n 2 --dist loadfile $(addprefix tests/exporters/,sources store features ingest)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy plugins/icinga/check_dnsvigil
	$(BIN)/mypy rules/grafana
	$(BIN)/mypy rules/nfsen/add-to-nfsen
	$(BIN)/mypy packaging/debian/manpages
	$(BIN)/lint-imports

# The default model of the name score is made from these, and what dependencies hold.
MODEL := packaging/build_backend.py exporters/dnsvigil/features/names.py $(wildcard exporters/dnsvigil/learning/*.py)

.venv/ready: requirements.lock pyproject.toml $(MODEL)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@echo "Installing dnsvigil; where the model of the name score is to be made anew, that takes about a minute"
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# docs/pictures/*.png, of the pages of a collector with the tests' data.
pictures: .venv/ready
	DNSVIGIL_PICTURES=1 $(BIN)/pytest -n 0 tests/exporters/web/test_browser.py -k pictures

# rules/grafana/*.json from the code beside them.
dashboards: .venv/ready
	$(BIN)/python rules/grafana

# What bash and zsh complete, from the parsers of the programs.
completions: .venv/ready
	$(BIN)/python packaging/debian/manpages/completions.py packaging/debian/completions

# The newest of everything that pyproject.toml allows.
lock: .venv/ready
	$(BIN)/pip-compile --quiet --upgrade --extra collector --extra remote --extra spark --extra hdfs --extra plot --extra misp --extra dev --allow-unsafe --generate-hashes \
	    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --strip-extras --no-header -o requirements.lock pyproject.toml
	$(BIN)/python packaging/debian/locks.py

# Debian packages for each of SUITES, each built in a clean chroot; packaging/debian/README.md says what that needs.
deb:
	for suite in $(SUITES); do PYTHON=$(PYTHON) packaging/debian/build $$suite || exit; done

# The lintian of each suite over them; errors and warnings fail.
lint-packages:
	for suite in $(SUITES); do packaging/debian/lint $$suite || exit; done

# A signed apt repository of them in build/repo; KEY=FINGERPRINT signs with a key of your own.
repo:
	packaging/debian/repo $(KEY)

# Installs them from that repository in clean chroots, and tries them.
test-packages:
	for suite in $(SUITES); do tests/packaging/run $$suite || exit; done

# Debian's piuparts, as root: after a purge, nothing of them is left.
piuparts:
	for suite in $(SUITES); do tests/packaging/piuparts $$suite || exit; done

# Boots machines with them, as root, and tries the services: upgrades, faults, the sandbox, the first alert.
test-services:
	for suite in $(SUITES); do tests/packaging/boot $$suite || exit; done

# A container image of the collector from that repository; docs/containers.md says what that needs.
image:
	packaging/container/image

# Runs it as the manifests in packaging/container do.
test-image:
	tests/packaging/container

clean:
	rm -rf .venv build $(addprefix exporters/dnsvigil/,engines/established.hashes engines/queries.json learning/name-score)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
