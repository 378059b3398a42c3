# Everything a person or a CI machine does with this repository.
# Two commands do all set-up on a fresh Debian or Ubuntu machine that has git,
# make and Go: `make demo` and `make test`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
OS      := $(shell uname -s)
ROOT    := $(shell [ "$$(id -u)" = 0 ] && echo yes)
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/sallyport/sallyport/internal/cli/build.version=$(VERSION)

# What tests may not skip. On Linux as root this is everything; override with
# `make test SALLYPORT_REQUIRE=` to let tests skip what the machine lacks.
ifeq ($(OS)$(ROOT),Linuxyes)
SALLYPORT_REQUIRE ?= root,docker,containerd,podman,bpf,kube
endif
export SALLYPORT_REQUIRE

# vet has its own step, and looks for more than go test does by itself.
TESTFLAGS ?= -count=1 -timeout=25m -vet=off
FUZZTIME  ?= 10s

# The compiler that made the committed BPF objects. Another version gives
# other bytes, so it is pinned; Debian 12, Ubuntu 22.04 and 24.04 have it.
export BPF2GO_CC    ?= clang-14
export BPF2GO_STRIP ?= llvm-strip-14

export CGO_ENABLED = 0
# What is compiled without the path of the tree need not be compiled again in the next
# clone, nor in the copy that check-generated makes.
export GOFLAGS := -trimpath $(filter-out -trimpath,$(GOFLAGS))
# Debian keeps dockerd and runc where only root looks.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

.PHONY: build
build: ## build bin/sallyport and bin/sallyport-runtime (static, no cgo)
	$(GO) build -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: install-deps
install-deps: ## install what tests, demo and generation need (Debian, Ubuntu; as root)
	@tools/install-deps

.PHONY: generate
generate: install-deps ## regenerate BPF objects, Go code and reference docs
	$(GO) generate ./...

.PHONY: check-generated
check-generated: ## fail when generated files are not what their sources give
	@tools/check-generated

.PHONY: demo
demo: build ## watch three people enter a container
	@tools/install-deps run
	@$(GO) build -o build/bin/demo ./testbed/demo
	@build/bin/demo -sallyport bin/sallyport

.PHONY: test
test: install-deps build ## everything CI checks: format, vet, drift, cross builds, all tests
	@tools/check-format
	$(GO) vet ./...
	@$(MAKE) --no-print-directory check-generated
	@tools/test $(TESTFLAGS)

.PHONY: testbed-kube
testbed-kube: ## build the Kubernetes of the tests into the cache: minutes once, then nothing
	@$(GO) run ./testbed/kube/make

.PHONY: cross
cross: ## compile for the other systems
	GOOS=darwin GOARCH=arm64 $(GO) build ./...
	GOOS=windows GOARCH=amd64 $(GO) build ./...
	GOOS=linux GOARCH=arm64 $(GO) build ./...

.PHONY: test-vm
test-vm: ## prove the kernel sensor on other kernels, in QEMU (Debian archive)
	@tools/install-deps vm
	SALLYPORT_REQUIRE=vm $(GO) test -count=1 -timeout=10m -v ./testbed/vm

.PHONY: test-engine
test-engine: install-deps build ## the tests of Docker on today's engine, compose and buildx (built once, some 10 minutes)
	@tools/install-deps engine
	@engine=$$($(GO) run ./testbed/docker/make) && export SALLYPORT_ENGINE="$$engine" SALLYPORT_REQUIRE=root,docker,containerd,bpf,engine && \
		$(GO) test $(TESTFLAGS) -p 1 ./testbed/docker ./internal/docker/... ./internal/containerd/... ./internal/kernel ./internal/cli/... ./testbed/truth ./testbed/procedures

.PHONY: test-receivers
test-receivers: ## send exports to an OpenTelemetry Collector and rsyslog (built and installed once)
	@tools/install-deps receivers
	@$(GO) run ./testbed/receivers/make >/dev/null
	SALLYPORT_REQUIRE=root,docker,bpf,receivers $(GO) test $(TESTFLAGS) -run '^TestReal' ./internal/export ./internal/cli/up

.PHONY: test-crio
test-crio: install-deps ## the tests on a real CRI-O, alone and below Kubernetes (built once, some minutes)
	@tools/install-deps crio
	@$(GO) run ./testbed/kube/make >/dev/null
	@crio=$$($(GO) run ./testbed/crio/make) && export SALLYPORT_CRIO="$$crio" SALLYPORT_REQUIRE=root,bpf,kube,crio && \
		$(GO) test $(TESTFLAGS) -p 1 -run CRIO ./testbed/crio ./testbed/kube ./internal/containerd ./internal/cli/doctor ./internal/cli/up ./internal/cli/scan ./testbed/truth/kubestorm

.PHONY: truth
truth: install-deps build ## score attribution against known ground truth; writes build/truth.json
	@$(GO) run ./testbed/kube/make
	@$(GO) build -o build/bin/truth ./testbed/truth/run
	@build/bin/truth -sallyport bin/sallyport -o build/truth.json

.PHONY: bench
bench: install-deps build ## what Sallyport costs; writes build/bench.json
	@tools/install-deps bench
	@$(GO) build -o build/bin/bench ./testbed/bench
	@build/bin/bench -sallyport bin/sallyport -o build/bench.json

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME
	@grep -rnoE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' . | while IFS=: read -r file _ func; do \
		$(GO) test -run='^$$' -fuzz="^$${func#func }$$" -fuzztime=$(FUZZTIME) "$$(dirname "$$file")"; \
	done

.PHONY: race
race: ## the concurrent packages under the race detector (needs gcc)
	CGO_ENABLED=1 $(GO) test $(TESTFLAGS) -race -p 1 ./internal/...

.PHONY: lint
lint: ## golangci-lint (a heavy build the first time)
	$(GO) tool -modfile=tools/lint/go.mod golangci-lint run

.PHONY: clean
clean: ## remove what was built
	rm -rf bin build
