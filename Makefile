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

GOLANGCI_LINT_VERSION := v2.15.0
GOLANGCI_LINT         := bin/golangci-lint-$(GOLANGCI_LINT_VERSION)

GOBUILD := CGO_ENABLED=0 go build -trimpath

.PHONY: help
help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' Makefile

.PHONY: deps
deps: ## check what the machine has; install the servers it lacks (Debian, Ubuntu)
	@scripts/deps

.PHONY: build
build: ## build bin/announce and bin/render, static
	$(GOBUILD) -o bin/ ./cmd/announce ./cmd/render

# Never from the cache, which does not know that tests run programs made of other sources.
.PHONY: test
test: deps ## pass every test, with real servers, under the race detector
	@go test -race -count=1 -json -timeout $(TIMEOUT) ./... | go run ./scripts/totals

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
demo: deps build ## show the whole path at work (PROXY=nginx|apache, ONCE=1 to leave at the end)
	@$(GOBUILD) -o bin/hello ./examples/hello
	@$(GOBUILD) -o bin/demo ./test/demo
	@exec bin/demo --proxy=$(PROXY) $(if $(filter-out 0,$(ONCE)),--once)

.PHONY: bench
bench: deps ## run the benchmarks (BENCH=regexp)
	@go test -run '^$$' -bench '$(BENCH)' -benchmem -timeout $(TIMEOUT) -p 1 \
		$$(grep -rl --include='*_test.go' '^func Benchmark' . | xargs -n1 dirname | sort -u)

.PHONY: fuzz
fuzz: ## run every fuzz target for a short time (FUZZTIME=10s each)
	@scripts/fuzz $(FUZZTIME)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
