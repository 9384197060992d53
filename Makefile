# The commands of the house; `make help` lists them. They need Go, git and
# bash; whatever else they use is built, at a pinned version, into .build.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GOLANGCI_LINT_VERSION := v2.15.0
BUF_VERSION := v1.75.0
CYCLONEDX_VERSION := v1.10.0
GOVULNCHECK_VERSION := v1.9.0

# The version is in the file's name, so that a new one is built when it changes.
GOLANGCI_LINT := .build/bin/golangci-lint-$(GOLANGCI_LINT_VERSION)
BUF := .build/bin/buf-$(BUF_VERSION)
CYCLONEDX := .build/bin/cyclonedx-gomod-$(CYCLONEDX_VERSION)
GOVULNCHECK := .build/bin/govulncheck-$(GOVULNCHECK_VERSION)

# Prometheus' own tool, of the version in the go.mod of deploy/check.
PROMTOOL := .build/bin/promtool-$(shell awk '$$1 == "github.com/prometheus/prometheus" { print $$2 }' deploy/check/go.mod)

# Other people's protos, printed from the modules in go.mod.
PROTO_DEPS := .build/deps/.printed

TESTFLAGS ?=
BENCH ?= .
FUZZTIME ?= 30s
FUZZ ?= .
CHECKS := test lint race generated

.PHONY: help
help: ## List these targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Run everything on this machine, without Azure: keyward dev.
	go run ./cmd/keyward dev

.PHONY: build
build: ## Build the command into .build/keyward.
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o .build/keyward ./cmd/keyward

# An archive for podman, docker, skopeo or crane. VERSION is its tag.
VERSION ?= dev
CA_CERTIFICATES ?= /etc/ssl/certs/ca-certificates.crt
.PHONY: image
image: ## Make a container image, .build/keyward.tar, without a daemon. VERSION is its tag.
	mkdir -p .build/image
	GOOS=linux CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o .build/image/keyward ./cmd/keyward
	cp $(CA_CERTIFICATES) .build/image/ca-certificates.crt
	GOOS= GOARCH= go run ./deploy/image -version '$(VERSION)' -ca .build/image/ca-certificates.crt .build/image/keyward .build/keyward.tar

.PHONY: test
test: ## Run the tests. Only Go is needed. TESTFLAGS=-count=1 forgets cached results.
	go test $(TESTFLAGS) ./...

.PHONY: race
race: ## Run the tests, but for the longest, in random order under the race detector (needs a C compiler).
	@[ "$$(go env CGO_ENABLED)" = 1 ] && command -v "$$(go env CC)" >/dev/null || \
		{ echo 'race: the race detector needs a C compiler, such as gcc, and CGO_ENABLED=1' >&2; exit 1; }
	go test -race -short -timeout 15m -shuffle=on $(TESTFLAGS) ./...

.PHONY: lint
lint: $(GOLANGCI_LINT) breaking ## Check style, imports, go.mod and protos.
	$(GOLANGCI_LINT) run
	go vet ./...
	go mod tidy -diff

.PHONY: breaking
breaking: $(BUF) $(PROTO_DEPS) ## Check the protos alone, also against BREAKING_AGAINST, a commit.
	$(BUF) lint
	BUF=$(BUF) .ci/breaking

# Azure's own clients for other languages, at the versions that their folders pin.
SDK := cmd/keyward/testdata/sdk
SDKS ?= go python js java

.PHONY: test-sdk
test-sdk: build $(patsubst %,.build/sdk/%/.installed,$(filter-out go,$(SDKS))) ## Run Azure's own clients in SDKS against the local vault.
	SDKS='$(SDKS)' $(SDK)/run

# KEYWARD_TEST_VAULT_TOKEN is a token for it: `az account get-access-token
# --resource https://vault.azure.net --query accessToken --output tsv` prints one.
.PHONY: test-vault
test-vault: ## Run the store's conformance suite at KEYWARD_TEST_VAULT, a running vault's URL.
	@[ -n "$${KEYWARD_TEST_VAULT:-}" ] || { echo 'test-vault: set KEYWARD_TEST_VAULT and KEYWARD_TEST_VAULT_TOKEN' >&2; exit 1; }
	go test -count=1 -timeout 20m -v -run TestSecretStoreAtAnyVault ./broker/keyvault

.build/sdk/python/.installed: $(SDK)/python/requirements.txt
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

.build/sdk/js/.installed: $(SDK)/js/package.json
	mkdir -p $(@D)
	cp $< $(@D)
	npm install --prefix $(@D) --no-fund --no-audit --loglevel error
	touch $@

.build/sdk/java/.installed: $(SDK)/java/pom.xml
	rm -rf $(@D)
	mvn -B -q -f $< org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory=$(CURDIR)/$(@D)/lib
	touch $@

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format the code.
	$(GOLANGCI_LINT) fmt

.PHONY: generate
generate: $(BUF) $(PROTO_DEPS) ## Generate gen and openapi.json from proto.
	$(BUF) generate

# Generated beside the tree, so that a check changes nothing.
.PHONY: generated
generated: $(BUF) $(PROTO_DEPS) ## Check that gen and openapi.json are what generate would make.
	rm -rf .build/generated
	$(BUF) generate --output .build/generated
	@for out in gen service/openapi/spec; do \
		diff -r .build/generated/$$out $$out || { echo "$$out is not current; run: make generate" >&2; exit 1; }; \
	done

.PHONY: check
check: ## Check everything, as CI does: test, lint, race, broken, generated.
	@for step in $(CHECKS); do \
		printf '\n== %s\n' $$step; \
		$(MAKE) --no-print-directory $$step || { printf '\n== %s failed\n' $$step >&2; exit 1; }; \
	done

# Not of check: promtool takes some minutes to build.
.PHONY: deploy-check
deploy-check: $(PROMTOOL) ## Check the manifests, alerts, dashboard and unit in deploy with others' tools.
	$(PROMTOOL) check rules --lint=all --lint-fatal deploy/prometheus/rules.yaml
	$(PROMTOOL) test rules deploy/prometheus/rules_test.yaml
	GOFLAGS= go run -C deploy/check . $(patsubst deploy/%,../%,$(wildcard deploy/kubernetes/*.yaml deploy/grafana/*.json))
	deploy/systemd/check

# Ratios to yardsticks that run beside it: docs/performance.md has the table. Some
# ten minutes for all rows; Linux only.
ROWS ?= all
BENCHFLAGS ?=
.PHONY: bench
bench: build ## Measure a keyward beside bare servers, and print the table of docs/performance.md. ROWS chooses.
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o .build/bench ./cmd/bench
	.build/bench -rows '$(ROWS)' $(BENCHFLAGS)

# What ships has no way to be profiled; this builds one that has.
.PHONY: flame
flame: ## Profile a keyward under the warm Get's load: print what each stage costs, and draw docs/performance.svg.
	go run ./cmd/bench flame -o docs/performance.svg

.PHONY: microbench
microbench: ## Run the benchmarks of packages that BENCH matches.
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

# It takes an hour or so on two cores. Power cuts of a mounted file system need root,
# and say so where they are skipped.
.PHONY: torture
torture: ## Cut the power, kill, fill the disk, fail it, hang up: the tests of docs/reliability.md in full.
	KEYWARD_TORTURE=1 go test -count=1 -timeout 6h -v -run '^TestTorture' ./broker/localvault ./cmd/keyward

# BREAK is a part of the name of those to build, as cmd/keyward/testdata/broken.txt has it.
BREAK ?= all
.PHONY: broken
broken: ## Build each of a list of broken builds, and check that its test turns red. BREAK chooses.
	KEYWARD_BROKEN='$(BREAK)' go test -vet=off -count=1 -timeout 30m -run '^TestBrokenBuilds$$' -v ./cmd/keyward

# FLOOD is a part of the name of those to run.
FLOOD ?=
.PHONY: floods
floods: build ## Flood a keyward in each way there is, and measure another client meanwhile. FLOOD chooses.
	KEYWARD_FLOODS='$(CURDIR)/.build/keyward' KEYWARD_FLOODS_ONLY='$(FLOOD)' \
		go test -vet=off -count=1 -timeout 60m -run '^TestFloods$$' ./cmd/keyward

.PHONY: fuzz
fuzz: ## Fuzz every target that FUZZ matches, each for FUZZTIME; ends at the first finding.
	FUZZTIME='$(FUZZTIME)' FUZZ='$(FUZZ)' .ci/fuzz

# What the command is made of. Not of check, but for the licences, which a test
# looks at: one builds everything anew, the others need tools and a database.
.PHONY: supply
supply: reproducible licences sbom vulnerabilities ## All about what the command is made of: the four below.

.PHONY: reproducible
reproducible: ## Build HEAD twice, in two folders, and compare the bytes.
	.ci/reproducible

.PHONY: licences
licences: ## List the licences of all that is linked in docs/licences.md; fail for one that is not allowed.
	mkdir -p .build
	go run ./deploy/licences > .build/licences.md
	mv .build/licences.md docs/licences.md

.PHONY: sbom
sbom: build $(CYCLONEDX) ## Write .build/keyward.cdx.json, a CycloneDX bill of what the command is linked from.
	$(CYCLONEDX) bin -json -std -noserial -notimestamp -version '$(VERSION)' -output .build/keyward.cdx.json .build/keyward
	go run ./deploy/licences -sbom .build/keyward.cdx.json

.PHONY: vulnerabilities
vulnerabilities: $(GOVULNCHECK) ## Look for known vulnerabilities in what is called. Fails where the database cannot be had.
	GOVULNCHECK=$(GOVULNCHECK) .ci/vulnerabilities

# `go install pkg@version` looks at no go.mod, so these tools add nothing to ours.
.PHONY: tools
tools: $(GOLANGCI_LINT) $(BUF)

$(GOLANGCI_LINT):
	GOFLAGS= GOBIN=$(CURDIR)/.build/install go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mkdir -p $(@D)
	mv .build/install/golangci-lint $@

$(PROMTOOL):
	mkdir -p $(@D)
	GOFLAGS= CGO_ENABLED=0 go build -C deploy/check -ldflags='-s -w' -o $(CURDIR)/$@ github.com/prometheus/prometheus/cmd/promtool

$(BUF):
	GOFLAGS= GOBIN=$(CURDIR)/.build/install go install github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION)
	mkdir -p $(@D)
	mv .build/install/buf $@

$(CYCLONEDX):
	GOFLAGS= GOBIN=$(CURDIR)/.build/install go install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX_VERSION)
	mkdir -p $(@D)
	mv .build/install/cyclonedx-gomod $@

$(GOVULNCHECK):
	GOFLAGS= GOBIN=$(CURDIR)/.build/install go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	mkdir -p $(@D)
	mv .build/install/govulncheck $@

$(PROTO_DEPS): proto/deps/main.go go.mod
	rm -rf $(@D)
	go run ./proto/deps $(@D)
	touch $@
