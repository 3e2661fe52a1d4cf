# Everything that is done with this project by hand or by CI. `make` alone lists it.

CARGO ?= cargo
# Cargo.lock is what was tested; a build that would change it fails.
CARGO_FLAGS ?= --locked
# Where `make run` listens, with how many workers (0: one for each core), and for pages of which origins beside its own:
# CORS=http://localhost:3000.
LISTEN ?= 127.0.0.1:3000
WORKERS ?= 0
CORS ?=
# Black-box tests at one time. Each starts a server and clients, and waits for most of its time: two of them keep two cores
# busy for less than half of it (0.8 s of CPU a test).
TEST_THREADS ?= 3
# Of those with several machines, which wait for most of their time.
MACHINES_THREADS ?= 4
# Containers at one time: a boot waits more than it works, so a third one costs the others little.
PACKAGE_THREADS ?= 3
# How long `make fuzz` looks for faults, and how long `make test` does, in seconds, for all targets together.
FUZZ_SECONDS ?= 600
FUZZ_BRIEFLY ?= 60
# Where `make repo` makes the repository, who signs it (a fingerprint in gpg; later ones may leave it out), and where
# machines will find it. DEBS: packages that were built elsewhere, instead of one from here; a blank in a path as '\ '.
# VALID_DAYS: see scripts/apt-repo.
REPO ?= repo
KEY ?=
URL ?=
DEBS ?=
VALID_DAYS ?=
# What `make bench` hands on: --quick, --only, --servers, --rounds, --scale, --storm, --clients, --json.
BENCH ?=

# How much `make long-tests` does: minutes of soak, seconds of fuzzing for each target, sessions that rest.
SOAK_MINUTES ?= 30
LONG_FUZZ_SECONDS ?= 180
IDLE_SESSIONS ?= 100000

# Whether somebody named an inventory, be it one without a name.
HAS_I := $(filter-out undefined,$(origin I))

# Where cargo builds to.
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

# Everything but the fuzzer, compiled for tests: all with the same features, so that nothing is compiled twice.
CHECKED := --profile checked --workspace --exclude my-app-fuzz
# The tests start what is shipped.
PROGRAM := MY_APP_PROGRAM=$(abspath $(TARGET_DIR))/release/my-app

# `&&` and pipes in recipes shall fail as a whole.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# The steps of `test` stand in order of what fails fastest, even under `make -j`.
.NOTPARALLEL:
.PHONY: help run client client-files fmt check deb install ping repo test-deps release-build test-builds unit-tests black-box-tests \
	package-tests fork-tests same-bytes deploys fuzz fuzz-briefly bench bench-builds long-tests test all-tests

# Prints what begins, and the seconds since `make` did.
BEGAN := $(shell date +%s)
say = @printf '[%4d s] %s\n' "$$(( $$(date +%s) - $(BEGAN) ))" '$(1)'

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: client-files ## Build the server and run it on LISTEN=127.0.0.1:3000, for pages of CORS=ORIGIN, too, joined with others by BRIDGE=URL; needs Rust, a C compiler, and npm for the browser's client
	$(CARGO) run $(CARGO_FLAGS) --release --bin my-app -- --listen $(LISTEN) --workers $(WORKERS) $(foreach origin,$(CORS),--cors '$(origin)') $(if $(BRIDGE),--bridge '$(BRIDGE)')

client: ## Get the browser's client, which the server serves, with npm; run, deb and test do it, too
	@scripts/client-files

# Without npm everything is built without it.
client-files:
	@scripts/client-files --if-possible

deb: client-files ## Build the Debian package: my-app.deb; it runs on this release and newer ones
	$(call say,Debian package)
	@scripts/build-deb

# With I, on other machines: DEB=FILE is a package that is there, ANSIBLE_OPTIONS what ansible-playbook is handed on.
# An I that is empty is a mistake, and not this machine.
install: $(if $(HAS_I),,deb) ## Build the Debian package and install it on this machine; I=INVENTORY: on its machines, with Ansible
ifdef HAS_I
	@scripts/fleet install '$(I)' $(ANSIBLE_OPTIONS)
else
	$$([ "$$(id -u)" = 0 ] || echo sudo) apt-get install --reinstall -y ./my-app.deb
endif

ping: ## Whether the machines of I=INVENTORY can be reached and installed on, with Ansible; I=local: this one
	@scripts/fleet ping $(if $(HAS_I),'$(I)') $(ANSIBLE_OPTIONS)

# Whether it can be signed is known before the build.
apt_repo = scripts/apt-repo --key '$(KEY)' --url '$(URL)' --valid-days '$(VALID_DAYS)'
repo: ## Make a signed package repository, or add to it: REPO=directory KEY=fingerprint URL=https://...
	@$(apt_repo) --check '$(REPO)'
	$(if $(DEBS),,@$(MAKE) --no-print-directory deb)
	@$(apt_repo) '$(REPO)' $(DEBS)

fmt: ## Format the Rust sources
	$(CARGO) fmt --all

check: ## Formatting, lints, documentation, license texts; every warning an error
	$(call say,Formatting)
	$(CARGO) fmt --all --check
	$(call say,Lints)
	$(CARGO) clippy $(CARGO_FLAGS) $(CHECKED) --all-targets -- -D warnings
	$(call say,Documentation)
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(CARGO_FLAGS) --profile checked --no-deps
	$(call say,Licenses)
	scripts/licenses --check

test-deps: ## Install what the tests need: Debian packages (as root or through sudo), npm packages
	$(call say,What the tests need)
	@scripts/test-deps

# What is shipped, and what most tests start. It is built as scripts/build-deb builds it, which then finds it done.
release-build: client-files
	$(call say,Release build)
	$(CARGO) build $(CARGO_FLAGS) --release --bin my-app

# One compilation for all tests and for the examples, which are applications that they start.
test-builds: client-files
	$(call say,Builds of tests)
	$(CARGO) test $(CARGO_FLAGS) $(CHECKED) --no-run

unit-tests: test-builds ## Unit tests, the engine's tests, and whether the documents are true
	$(call say,Unit tests)
	$(CARGO) test $(CARGO_FLAGS) $(CHECKED) --lib --bins --test docs --test 'rfc*' --test sessions
	$(CARGO) test $(CARGO_FLAGS) $(CHECKED) --doc

black-box-tests: test-builds release-build ## The server as a black box, with real clients; what `make test-deps` installs must be there
	@scripts/meanwhile --wait
	$(call say,Black-box tests)
	$(PROGRAM) $(CARGO) test $(CARGO_FLAGS) $(CHECKED) --test it -- --test-threads=$(TEST_THREADS) --skip machines_
	$(call say,Several machines)
	$(call as_root,it) --test-threads=$(MACHINES_THREADS) machines_

# Only root can boot containers and make networks. What root runs is built before, by whoever calls.
define as_root
	tests=$$($(CARGO) test $(CARGO_FLAGS) $(CHECKED) --test $(1) --no-run --message-format=json | \
		sed -n 's/.*"executable":"\([^"]*\/$(1)-[^"]*\)".*/\1/p'); \
	$$([ "$$(id -u)" = 0 ] || echo sudo env PATH="$$PATH" HOME="$$HOME" XDG_CACHE_HOME="$$XDG_CACHE_HOME") \
		env $(PROGRAM) $(2) "$$tests"
endef
package_tests = $(call as_root,package) --test-threads=$(PACKAGE_THREADS)

# Those of `beside` are fork-tests, for which a second package is built; for `two_builds_` all crates are compiled anew.
package-tests: test-builds deb ## The package on booted Debian 12 and 13, as root or through sudo; `make test` ends with it
	@scripts/meanwhile --wait
	$(call say,Package tests)
	$(package_tests) --skip beside:: --skip two_builds_

fork-tests: test-builds deb ## A renamed fork beside my-app on one machine, as root or through sudo; part of long-tests
	$(call say,A fork)
	scripts/build-fork
	$(package_tests) --nocapture beside::

same-bytes: test-builds deb ## Whether two builds of a commit are the same bytes, as root or through sudo; part of long-tests
	$(call say,The package once more)
	$(package_tests) two_builds_

# The same that package-tests does with a quarter of the clients.
deploys: test-builds deb
	$(call as_root,package,DEPLOYS_SCALE=4) --test-threads=1 --nocapture deploys_under_load

fuzz: ## Fuzz the parsers of clients', the bus's and the link's bytes, for FUZZ_SECONDS=600
	scripts/fuzz $(FUZZ_SECONDS)

fuzz-briefly: ## The same for FUZZ_BRIEFLY=60 seconds, as `make test` does
	$(call say,Fuzzing)
	@FUZZ_SEED=1 scripts/fuzz $(FUZZ_BRIEFLY)

bench-builds:
	$(call say,Release builds)
	$(CARGO) build $(CARGO_FLAGS) --release --bin my-app
	$(CARGO) build $(CARGO_FLAGS) --release -p my-app-bench

bench: bench-builds ## Measure the server beside its peers; BENCH=--quick takes two minutes, all of it a quarter of an hour
	@scripts/test-deps bench
	$(call say,Measuring)
	@$(TARGET_DIR)/release/bench --server $(TARGET_DIR)/release/my-app --json $(TARGET_DIR)/bench.json $(BENCH)

# What takes too long for every change, and is run before a release. The descriptors of a process are limited:
# see docs/TESTING.md.
long-tests: test-deps bench-builds ## Soak, fuzzing, lost answers, several machines, very many sessions, a fork beside my-app: an hour and a half
	$(call say,15000 sessions in one worker)
	$(TARGET_DIR)/release/bench idle --server $(TARGET_DIR)/release/my-app --sessions 15000 --processes 1 --workers 1
	$(call say,15000 upgraded sessions in one worker)
	$(TARGET_DIR)/release/bench idle --server $(TARGET_DIR)/release/my-app --sessions 15000 --processes 1 --workers 1 --upgraded
	$(call say,$(IDLE_SESSIONS) sessions in six workers)
	$(TARGET_DIR)/release/bench idle --server $(TARGET_DIR)/release/my-app --sessions $(IDLE_SESSIONS)
	$(call say,Lost answers)
	ABORTED_POLLS=3000 $(PROGRAM) $(CARGO) test $(CARGO_FLAGS) $(CHECKED) --test it lost_answers
	$(call say,Deaths)
	DEATHS=13 $(PROGRAM) $(CARGO) test $(CARGO_FLAGS) $(CHECKED) --test it deaths::a_worker_that_dies
	$(call say,Several machines)
	$(call as_root,it,MACHINES_LONG=1) --test-threads=1 --nocapture machines_
	$(call say,Deploys)
	@$(MAKE) --no-print-directory deploys
	$(call say,Fuzzing)
	scripts/fuzz $$(( $(LONG_FUZZ_SECONDS) * $$(ls fuzz/corpus | wc -l) ))
	$(call say,Soak)
	$(TARGET_DIR)/release/bench soak --server $(TARGET_DIR)/release/my-app --minutes $(SOAK_MINUTES)
	@$(MAKE) --no-print-directory same-bytes
	@$(MAKE) --no-print-directory fork-tests

# Meanwhile what the last steps need is made, in what the first ones leave of the processors: each step that needs it
# makes it as well, and finds it done.
test: test-deps client ## All that CI runs
	@scripts/meanwhile \
		'$(CARGO) build $(CARGO_FLAGS) --release --bin my-app' \
		'scripts/build-deb --tool' \
		'scripts/test-rootfs-all' \
		-- $(MAKE) --no-print-directory all-tests BEGAN=$(BEGAN)

all-tests: check unit-tests fuzz-briefly black-box-tests package-tests
