# Every target works in a clean clone. What a machine lacks, `make deps` installs or names.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Debian keeps servers in sbin, which is not in everybody's PATH.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

PROXY    ?= nginx
ONCE     ?=
TIMEOUT  ?= 15m
FUZZTIME ?= 10s
BENCH    ?= .
PREFIX   ?= /usr/local
DESTDIR  ?=
VERSION  ?=
BASE     ?= debian:bookworm-slim

GOLANGCI_LINT_VERSION := v2.15.0
GOLANGCI_LINT         := bin/golangci-lint-$(GOLANGCI_LINT_VERSION)

GOBUILD := CGO_ENABLED=0 go build -trimpath $(if $(VERSION),-ldflags '-X rollcall/internal/cli.release=$(VERSION)')

.PHONY: help
help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

.PHONY: deps
deps: ## check what the machine has; install the servers it lacks (Debian, Ubuntu)
	@scripts/deps

.PHONY: build
build: ## build bin/announce and bin/render, static
	$(GOBUILD) -o bin/ ./cmd/announce ./cmd/render

# Under sudo there is often no Go: then the programs are installed that are built already.
.PHONY: install
install: $(if $(shell command -v go),build) ## install programs, units, manual pages, completions (PREFIX=/usr/local DESTDIR=)
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/install

.PHONY: uninstall
uninstall: ## remove what make install has put there (the same PREFIX and DESTDIR)
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/install --uninstall

.PHONY: package
package: ## make dist/rollcall_VERSION_ARCH.deb (VERSION=1.2.3 where git does not say it)
	@VERSION='$(VERSION)' scripts/package

.PHONY: images
images: ## make the container images of the announcer and the balancers (BASE=debian:bookworm-slim)
	@BASE='$(BASE)' scripts/images

# Never from the cache, which does not know that tests run programs made of other sources. The longest
# come first, so that none is left alone at the end.
.PHONY: test
test: deps ## pass every test, with real servers, under the race detector
	@go test -race -count=1 -json -timeout $(TIMEOUT) ./test/e2e ./test/machines ./... | go run ./scripts/totals

.PHONY: lint
lint: $(GOLANGCI_LINT) ## run the linters (the first time builds them: two minutes)
	@$(GOLANGCI_LINT) run

# Under its version's name, so that a new version is a new file.
$(GOLANGCI_LINT):
	@echo "building golangci-lint $(GOLANGCI_LINT_VERSION), once"
	@mkdir -p bin
	@tmp=$$(mktemp -d "$$PWD/bin/.lint-XXXXXX"); trap 'rm -rf "$$tmp"' EXIT; \
	GOBIN="$$tmp" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION); \
	mv "$$tmp/golangci-lint" $@

.PHONY: demo
demo: deps build ## show the whole path at work (PROXY=nginx|apache|haproxy, ONCE=1 to leave at the end)
	@$(GOBUILD) -o bin/hello ./examples/hello
	@$(GOBUILD) -o bin/demo ./test/demo
	@exec bin/demo --proxy=$(PROXY) $(if $(filter-out 0,$(ONCE)),--once)

.PHONY: bench
bench: deps ## run the benchmarks (BENCH=regexp)
	@go test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 60m -p 1 \
		$$(grep -rl --include='*_test.go' '^func Benchmark' . | xargs -n1 dirname | sort -u)

# Half an hour on two cores, and nothing else should run on them.
.PHONY: proof
proof: deps ## deploy on three machines under load, 200 times; writes docs/proof.md (root, Docker)
	@go run ./test/proof --requests 1000000 --replacements 200 --report docs/proof.md

.PHONY: fuzz
fuzz: ## run every fuzz target for a short time (FUZZTIME=10s each)
	@scripts/fuzz $(FUZZTIME)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
