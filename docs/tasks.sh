#!/usr/bin/env bash
# What an application does with Key Vault, each through the broker, from the
# beginning to the end: secrets, keys, a certificate that is made, polled, listed
# and fetched, with each of three ways to get tokens of Entra ID.
#
#   docs/tasks.sh            with the local vault: nothing else is needed
#   KEYWARD=… docs/tasks.sh  with that keyward instead of `go run ./cmd/keyward`
#
# The local vault is a stand-in by its URL and its credentials alone: put your own
# into serve.yaml below, and all of it goes to Azure.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2> "$dir/killed" || true; wait; rm -rf "$dir"' EXIT
if [ -z "${KEYWARD:-}" ]; then
	KEYWARD=$dir/keyward
	go build -o "$KEYWARD" ./cmd/keyward
fi
keyward() { "$KEYWARD" "$@"; }
say() { printf '\n== %s\n' "$*"; }

# ready NAME WORDS waits until what NAME printed has the words.
ready() {
	for _ in $(seq 600); do
		! grep -q "$2" "$dir/$1.log" || return 0
		sleep 0.1
	done
	echo "$1 is not ready:" >&2
	cat "$dir/$1.log" >&2
	return 1
}

say 'a vault, and something that issues TLS certificates'
"$KEYWARD" vault --data "$dir/vault" --addr 127.0.0.1:0 &> "$dir/vault.log" &
"$KEYWARD" dev --data "$dir/dev" --grpc 127.0.0.1:0 --http 127.0.0.1:0 --vault 127.0.0.1:0 --admin 127.0.0.1:0 &> "$dir/dev.log" &
ready vault ^ready$
ready dev ^ready$

say 'a broker that reaches the vault in three ways'
(
	set -a
	. "$dir/vault/vault.env"
	cat > "$dir/serve.yaml" <<- END
		grpc: {address: "127.0.0.1:0"}
		http: {address: "127.0.0.1:0"}
		admin: {address: "127.0.0.1:0"}
		tls: {certificate: dev/server.pem, key: dev/server-key.pem, clientCa: dev/ca.pem}
		identity: {mtls: {trustDomain: dev.keyward}}
		policy: {path: dev/policy}
		audit: {path: audit.jsonl}
		vaults:
		  by-secret:
		    url: $VAULT_URL
		    caFile: vault/ca.pem
		    credential: {clientSecret: {tenantId: $AZURE_TENANT_ID, clientId: $AZURE_CLIENT_ID, secretEnv: AZURE_CLIENT_SECRET}}
		  by-assertion:
		    url: $VAULT_URL
		    caFile: vault/ca.pem
		    credential: {clientCertificate: {tenantId: $AZURE_TENANT_ID, clientId: $AZURE_CLIENT_ID, certificateFile: $AZURE_CLIENT_CERTIFICATE_PATH}}
		  by-identity:
		    url: $VAULT_URL
		    caFile: vault/ca.pem
		    credential: {managedIdentity: {}}
	END
	exec "$KEYWARD" serve --config "$dir/serve.yaml"
) &> "$dir/serve.log" &
ready serve msg=serving
cat > "$dir/context.json" <<END
{"grpc": "$(sed -n 's/.*msg=serving grpc=\([^ ]*\) .*/\1/p' "$dir/serve.log")", "ca": "dev/ca.pem",
 "certificate": "dev/admin.pem", "key": "dev/admin-key.pem", "vault": "by-secret"}
END
export KEYWARD_CONTEXT=$dir/context.json

say 'set a secret, and get it'
printf %s correct-horse | keyward set db-password
[ "$(keyward get db-password)" = correct-horse ]

say 'list secrets'
keyward list

say 'create a key, and delete it'
keyward key create invoices
keyward key delete invoices

say 'create a certificate, and poll it'
keyward certificate create web --dns example.org --wait 0s
until keyward certificate operation get web | grep -q '^completed '; do sleep 0.5; done
keyward certificate operation get web

for vault in by-secret by-assertion by-identity; do
	say "enumerate certificates: $vault"
	keyward certificate list --vault "$vault" | tee "$dir/list"
	grep -q '^web ' "$dir/list"
done

say 'fetch the X.509 certificate'
keyward certificate get web --pem
keyward certificate get web --out "$dir/tls"
grep -q 'BEGIN CERTIFICATE' "$dir/tls/fullchain.pem"
grep -q 'BEGIN PRIVATE KEY' "$dir/tls/privkey.pem"

say 'all done'
