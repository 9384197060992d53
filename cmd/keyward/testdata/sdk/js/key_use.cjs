// Uses of keys through CryptographyClient, and whether the vault was asked for them.
"use strict";

const assert = require("node:assert/strict");
const { CryptographyClient } = require("@azure/keyvault-keys");
const { RestError } = require("@azure/core-rest-pipeline");

// What each use is called at the vault.
const operations = {
  encrypt: "encrypt", decrypt: "decrypt", wrapKey: "wrapkey", unwrapKey: "unwrapkey",
  sign: "sign", signData: "sign", verify: "verify", verifyData: "verify",
};

// What this client computes itself once it has read the public key: the table in
// ../README.md.
const computes = (operation, algorithm) =>
  (["encrypt", "wrapKey"].includes(operation) && ["RSA1_5", "RSA-OAEP"].includes(algorithm)) ||
  (operation === "verifyData" && /^[RP]S/.test(algorithm));

// A use of a key, given by its id or as it was got. Without reads, the client is
// refused every key as if it lacked the permission, and has to ask the vault for
// every use. It checks who did it.
function use(vault, key, reads) {
  const asked = [];
  const watch = {
    name: "watch",
    sendRequest(request, next) {
      if (request.method !== "GET") asked.push(new URL(request.url).pathname.split("/").pop());
      else if (!reads) throw new RestError("the permission to read keys is missing", { statusCode: 403 });
      return next(request);
    },
  };
  const options = { ...vault.options, additionalPolicies: [{ policy: watch, position: "perCall" }] };
  const client = new CryptographyClient(key, vault.credential, options);
  const local = (operation, algorithm) => reads && computes(operation, algorithm);
  const call = async (operation, ...args) => {
    asked.length = 0;
    const got = await client[operation](...args);
    const algorithm = args[0].algorithm ?? args[0];
    const want = local(operation, algorithm) ? [] : [operations[operation]];
    assert.deepEqual(asked, want, `what the vault was asked for at ${operation} ${algorithm}`);
    return got;
  };
  return Object.assign(call, { local });
}

// The ways to use a key: all at the vault; by its id; and by what was got.
const uses = (vault, key) => [use(vault, key.id, false), use(vault, key.id, true), use(vault, key, true)];

module.exports = { use, uses };
