# Everything that is done with this tree by hand or by a machine. `make` lists
# the targets. Logic of more than a few lines is Go (internal/, lab/).

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# A build machine's environment may be nearly empty: Go needs a home for its
# caches, and Debian's sbin and the usual place of Go belong on the path.
ifeq ($(HOME),)
export HOME := $(shell getent passwd "$$(id -u)" | cut -d: -f6)
endif
export PATH := $(PATH):/usr/local/go/bin:/usr/sbin:/sbin
# Static binaries, and no C compiler needed for anything but `make race`.
export CGO_ENABLED = 0

BIN     ?= bin
PREFIX  ?= /usr/local
DESTDIR ?=
# What the binaries call themselves; without git they fall back to what the Go
# toolchain knows (internal/version).
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
TRIMPATH ?= -trimpath
LDFLAGS  = -s -w -X github.com/weft-net/weft/internal/version.Version=$(VERSION)
# The plugin begins at an entry point of its own (docs/design/plugin-start.md).
ENTRY    = $(if $(filter amd64 arm64,$(shell go env GOARCH)),-E weft_cni_entry)

PKG       ?= ./...
TESTFLAGS ?=
FUZZTIME  ?= 10s
BENCHFLAGS ?=
BENCHBGPFLAGS ?=
FAULTFLAGS ?=
BENCHPATHSFLAGS ?=
BENCHCNIFLAGS ?=
SOAKFLAGS ?=

# The real peers that tests talk to, the runtimes that call the plugin, and the
# tools they look at the kernel with. One of several that will do: a/b.
TEST_PACKAGES = etcd-server etcd-client iproute2 iputils-ping nftables tcpdump containernetworking-plugins \
	frr bird2 gobgpd tshark \
	podman buildah containerd/containerd.io runc/containerd.io iptables busybox-static

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## build the static binaries into bin/
	go build $(TRIMPATH) -ldflags '$(LDFLAGS)' -ldflags './cmd/weft-cni=$(LDFLAGS) $(ENTRY)' -o $(BIN)/ ./cmd/...

.PHONY: demo
demo: build ## three hosts and six pods on this machine, with faults; under a minute
	$(BIN)/weft-lab demo

.PHONY: demo-bgp
demo-bgp: build ## two racks, two ToRs each, routed by BGP, with faults; under two minutes
	$(BIN)/weft-lab demo-bgp

.PHONY: demo-migrate
demo-migrate: build ## two racks move from VXLAN to BGP and back under traffic; about a minute
	$(BIN)/weft-lab demo-migrate

.PHONY: setup
setup: # install what the tests need and this machine lacks
	@scripts/setup $(TEST_PACKAGES)

.PHONY: test
test: setup ## vet and every test (PKG=./store/... for some, TESTFLAGS=-run=Name)
	go vet ./...
	go test -json -count=1 -timeout 20m $(TESTFLAGS) $(PKG) | go run ./internal/testreport

.PHONY: faults
faults: build setup ## the long fault runs (FAULTFLAGS="-run Restart -v")
	WEFT_FAULTS=full WEFT_TEST_BIN=$(abspath $(BIN)) go test -json -count=1 -timeout 60m $(FAULTFLAGS) ./lab/faults | go run ./internal/testreport

.PHONY: race
race: setup ## every test under the race detector (needs a C compiler, and longer)
	CGO_ENABLED=1 go test -json -race -count=1 -timeout 40m $(TESTFLAGS) $(PKG) | go run ./internal/testreport

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10s)
	@scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: build setup ## measure against floors taken in the same run (docs/performance.md)
	$(BIN)/weft-lab bench $(BENCHFLAGS)
	$(BIN)/weft-lab bench-bgp $(BENCHBGPFLAGS)
	$(BIN)/weft-lab bench-paths $(BENCHPATHSFLAGS)
	$(BIN)/weft-lab bench-cni $(BENCHCNIFLAGS)

.PHONY: bench-cni
bench-cni: build setup ## the part of bench that is about the plugin; about a minute
	$(BIN)/weft-lab bench-cni $(BENCHCNIFLAGS)

.PHONY: soak
soak: setup ## the long runs of the plugin: 40 000 random calls, kills at every system call (WEFT_SEED=N repeats one)
	WEFT_FAULTS=full go test -v -count=1 -timeout 60m $(SOAKFLAGS) ./cni/faults

.PHONY: lab
lab: build ## bring a lab of three hosts up and leave it up (bin/weft-lab down)
	$(BIN)/weft-lab up

bin/golangci-lint: tools/go.mod tools/go.sum
	go build -C tools -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: lint
lint: bin/golangci-lint ## golangci-lint, pinned in tools/go.mod
	bin/golangci-lint run ./...

.PHONY: fmt
fmt: ## gofmt -s on every file
	gofmt -s -w $$(git ls-files '*.go')

.PHONY: install
install: build ## install binaries, plugin, units and sample files (DESTDIR, PREFIX)
	install -D -m 755 $(BIN)/weftd $(DESTDIR)$(PREFIX)/sbin/weftd
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(BIN)/weft $(BIN)/weft-lab
	install -D -m 755 $(BIN)/weft-cni $(DESTDIR)/opt/cni/bin/weft
	install -d -m 755 $(DESTDIR)$(PREFIX)/lib/systemd/system
	for unit in weftd weft-shutdown; do sed 's|=\(-\?\)/usr/\(s\?bin/weft\)|=\1$(PREFIX)/\2|' scripts/$$unit.service \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service; done
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/weft scripts/fabric.yaml scripts/fabric-bgp.yaml LICENSE
	install -m 644 config/reference.yaml $(DESTDIR)$(PREFIX)/share/doc/weft/weftd.yaml
	test -e $(DESTDIR)/etc/weft/weftd.yaml || install -D -m 600 config/reference.yaml $(DESTDIR)/etc/weft/weftd.yaml

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
