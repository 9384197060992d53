# The commands of the house; `make help` lists them. They need Go, git and
# bash; whatever else they use is built, at a pinned version, into .build.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GOLANGCI_LINT_VERSION := v2.15.0
BUF_VERSION := v1.75.0

# The version is in the file's name, so that a new one is built when it changes.
GOLANGCI_LINT := .build/bin/golangci-lint-$(GOLANGCI_LINT_VERSION)
BUF := .build/bin/buf-$(BUF_VERSION)

# Other people's protos, printed from the modules in go.mod.
PROTO_DEPS := .build/deps/.printed

TESTFLAGS ?=
BENCH ?= .
FUZZTIME ?= 30s
CHECKS := test lint race generated

.PHONY: help
help: ## List these targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Run everything on this machine, without Azure: keyward dev.
	go run ./cmd/keyward dev

.PHONY: build
build: ## Build the command into .build/keyward.
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o .build/keyward ./cmd/keyward

.PHONY: test
test: ## Run the tests. Only Go is needed. TESTFLAGS=-count=1 forgets cached results.
	go test $(TESTFLAGS) ./...

.PHONY: race
race: ## Run the tests in random order under the race detector (needs a C compiler).
	@[ "$$(go env CGO_ENABLED)" = 1 ] && command -v "$$(go env CC)" >/dev/null || \
		{ echo 'race: the race detector needs a C compiler, such as gcc, and CGO_ENABLED=1' >&2; exit 1; }
	go test -race -shuffle=on $(TESTFLAGS) ./...

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
check: ## Check everything, as CI does: test, lint, race, generated.
	@for step in $(CHECKS); do \
		printf '\n== %s\n' $$step; \
		$(MAKE) --no-print-directory $$step || { printf '\n== %s failed\n' $$step >&2; exit 1; }; \
	done

.PHONY: bench
bench: ## Run the benchmarks that BENCH matches.
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

.PHONY: fuzz
fuzz: ## Fuzz every target, each for FUZZTIME.
	@targets=$$(grep -roE --include='*_test.go' --exclude-dir=.build '^func Fuzz[A-Za-z0-9_]+' . | \
		sed -E 's|^(.*)/[^/]*:func (.*)$$|\1 \2|') || { echo 'fuzz: no targets'; exit 0; }; \
	while read -r dir target; do \
		printf '\n== %s %s\n' "$$dir" "$$target"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$dir" </dev/null; \
	done <<< "$$targets"

# `go install pkg@version` looks at no go.mod, so these tools add nothing to ours.
.PHONY: tools
tools: $(GOLANGCI_LINT) $(BUF)

$(GOLANGCI_LINT):
	GOFLAGS= GOBIN=$(CURDIR)/.build/install go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mkdir -p $(@D)
	mv .build/install/golangci-lint $@

$(BUF):
	GOFLAGS= GOBIN=$(CURDIR)/.build/install go install github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION)
	mkdir -p $(@D)
	mv .build/install/buf $@

$(PROTO_DEPS): proto/deps/main.go go.mod
	rm -rf $(@D)
	go run ./proto/deps $(@D)
	touch $@
