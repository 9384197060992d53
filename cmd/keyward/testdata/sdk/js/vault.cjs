// How a program of ../README.md reaches the vault, and what it checks of replies.
"use strict";

const assert = require("node:assert/strict");
const dns = require("node:dns");
const { ClientSecretCredential, DefaultAzureCredential } = require("@azure/identity");

const env = process.env;

// A later one than 2038 does not leave this client whole: it sends 32 bits.
exports.expiresOn = new Date("2037-01-02T03:04:05Z");
exports.quick = { intervalInMs: 100 };

// Looks *.localhost up as loopback, which not every system does.
function resolveLocalhost() {
  const ask = dns.lookup;
  dns.lookup = (host, ...rest) => ask(host.endsWith(".localhost") ? "127.0.0.1" : host, ...rest);
}

// The vault's URL, a credential, and the options of every client.
exports.connect = (mode) => {
  const unverified = { disableChallengeResourceVerification: true };
  if (mode === "default") return { url: env.VAULT_URL, credential: new DefaultAzureCredential(), options: unverified };
  const credential = new ClientSecretCredential(env.AZURE_TENANT_ID, env.AZURE_CLIENT_ID, env.AZURE_CLIENT_SECRET, {
    authorityHost: env.AZURE_AUTHORITY_HOST,
    disableInstanceDiscovery: true,
  });
  if (mode !== "verified" && mode !== "hsm") return { url: env.VAULT_URL, credential, options: unverified };
  resolveLocalhost();
  return { url: env.VERIFIED_VAULT_URL, credential, options: {} };
};

exports.refused = (statusCode, code, call) =>
  assert.rejects(call, (e) => {
    assert.deepEqual({ statusCode: e.statusCode, code: e.code }, { statusCode, code }, e.message);
    return true;
  });
