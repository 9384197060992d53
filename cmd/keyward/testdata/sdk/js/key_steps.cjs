// The steps of keys in ../README.md, by Azure's own client for JavaScript.
"use strict";

const assert = require("node:assert/strict");
const { KeyClient } = require("@azure/keyvault-keys");
const { algorithms, newEC, privateJWK } = require("./key_algorithms.cjs");
const { use } = require("./key_use.cjs");
const { expiresOn, quick, refused } = require("./vault.cjs");

const privateMembers = ["d", "p", "q", "dp", "dq", "qi", "k"];
const day = 24 * 60 * 60 * 1000;

module.exports = (vault, mode) => {
  const client = new KeyClient(vault.url, vault.credential, vault.options);
  const hsm = mode === "hsm";
  const prefix = `js-${mode}`;
  const name = `${prefix}-db`;
  let first, second, blob;

  // A type of keys, as this kind of vault holds them best.
  const type = (kty) => (hsm ? `${kty}-HSM` : kty);
  const makeEC = (name, options) => client.createEcKey(name, { hsm, ...options });

  async function takeIn(name, jwk) {
    const got = await client.importKey(name, jwk, { hardwareProtected: hsm });
    assert.deepEqual(privateMembers.filter((member) => got.key[member]), [], "the private members");
    return got;
  }

  async function wantVersion(version, want) {
    const got = await client.getKey(name, { version });
    assert.equal(got.id, want.id);
    assert.deepEqual([got.key.x, got.key.y], [want.key.x, want.key.y], "the public key");
    return got;
  }

  // Asks the vault for a signature, whatever this client knows of the key.
  const sign = (key, digest = Buffer.alloc(32)) => use(vault, key.id, false)("sign", "ES256", digest);

  return {
    ...algorithms({ vault, client, prefix, type, takeIn }),
    async create() {
      for (const keySize of [2048, 3072]) {
        const got = await client.createRsaKey(`${prefix}-rsa-${keySize}`, { keySize, hsm });
        assert.equal(got.keyType, type("RSA"));
        assert.deepEqual([got.key.n.length, ...got.key.e], [keySize / 8, 1, 0, 1], "the modulus's bytes and the exponent");
        assert.deepEqual([...got.keyOperations].sort(), ["decrypt", "encrypt", "sign", "unwrapKey", "verify", "wrapKey"]);
      }
      for (const [curve, size] of Object.entries({ "P-256": 32, "P-384": 48, "P-521": 66, "P-256K": 32 })) {
        const got = await makeEC(`${prefix}-${curve}`, { curve });
        assert.deepEqual([got.keyType, got.key.crv, got.key.x.length, got.key.y.length], [type("EC"), curve, size, size]);
      }
      first = await makeEC(name, { tags: { team: "pay" }, keyOps: ["sign", "verify"] });
      assert.equal(first.properties.vaultUrl, vault.url);
    },
    async import() {
      const jwk = privateJWK(newEC("P-384"), type("EC"));
      const { key } = await takeIn(`${prefix}-imported`, jwk);
      assert.deepEqual([key.crv, Buffer.from(key.x), Buffer.from(key.y)], ["P-384", jwk.x, jwk.y]);
    },
    async get() {
      const got = await wantVersion(undefined, first);
      assert.equal(got.properties.enabled, true);
      assert.equal(got.properties.recoverableDays, 90);
    },
    async "get-version"() {
      const got = await wantVersion(first.properties.version, first);
      assert.deepEqual({ ...got.properties.tags }, { team: "pay" });
      assert.deepEqual([...got.keyOperations].sort(), ["sign", "verify"]);
    },
    async update() {
      const version = first.properties.version;
      await client.updateKeyProperties(name, version, { tags: { team: "ops" }, expiresOn, keyOps: ["sign"] });
      const got = await wantVersion(version, first);
      assert.deepEqual({ ...got.properties.tags }, { team: "ops" });
      assert.deepEqual(got.properties.expiresOn, expiresOn);
      assert.deepEqual(got.keyOperations, ["sign"]);
    },
    async rotate() {
      second = await client.rotateKey(name);
      assert.notEqual(second.id, first.id);
      assert.notDeepEqual(second.key.x, first.key.x);
      await wantVersion(undefined, second);
      await wantVersion(first.properties.version, first);
    },
    async versions() {
      const want = [first.properties.version, second.properties.version];
      for (let i = 0; i < 25; i++) {
        second = await client.rotateKey(name);
        want.push(second.properties.version);
      }
      const got = [];
      let pages = 0;
      for await (const page of client.listPropertiesOfKeyVersions(name).byPage()) {
        pages++;
        for (const p of page) got.push(p.version);
      }
      assert.ok(pages >= 2, "one page for 27 versions");
      assert.deepEqual(got.sort(), want.sort());
    },
    async "rotation-policy"() {
      const rotate = { action: "Rotate", timeAfterCreate: "P30D" };
      const put = await client.updateKeyRotationPolicy(name, { expiresIn: "P90D", lifetimeActions: [rotate] });
      for (const policy of [put, await client.getKeyRotationPolicy(name)]) {
        assert.equal(policy.expiresIn, "P90D");
        assert.ok(policy.createdOn, "when it was made is missing");
        assert.ok(policy.lifetimeActions.some((a) => a.action === "Rotate" && a.timeAfterCreate === "P30D"), "it does not rotate");
      }
      second = await client.rotateKey(name);
      assert.equal(second.properties.expiresOn - second.properties.createdOn, 90 * day);
    },
    async list() {
      const want = new Set(Array.from({ length: 30 }, (_, i) => `${prefix}-many-${i}`));
      for (const one of want) await makeEC(one);
      let pages = 0;
      for await (const page of client.listPropertiesOfKeys().byPage()) {
        pages++;
        for (const p of page) want.delete(p.name);
      }
      assert.ok(pages >= 2, "one page for 30 keys and more");
      assert.deepEqual([...want], [], "not listed");
    },
    async disabled() {
      const key = await makeEC(`${prefix}-disabled`, { enabled: false });
      assert.equal(key.properties.enabled, false);
      await refused(403, "Forbidden", () => sign(key));
    },
    async "not-allowed"() {
      const verify = use(vault, first.id, false);
      await refused(403, "Forbidden", () => verify("verify", "ES256", Buffer.alloc(32), Buffer.alloc(64)));
    },
    async "not-yet"() {
      const key = await makeEC(`${prefix}-early`, { notBefore: expiresOn });
      await refused(403, "Forbidden", () => sign(key));
    },
    async missing() {
      await refused(404, "KeyNotFound", () => client.getKey(`${prefix}-missing`));
    },
    async "bad-name"() {
      await refused(400, "BadParameter", () => makeEC(`${prefix}_bad`));
    },
    async "bad-digest"() {
      await refused(400, "BadParameter", () => sign(second, Buffer.alloc(31)));
    },
    async backup() {
      blob = await client.backupKey(name);
      assert.ok(blob.length > 0);
      await refused(409, "Conflict", () => client.restoreKeyBackup(blob));
    },
    async delete() {
      const deleted = await (await client.beginDeleteKey(name, quick)).pollUntilDone();
      assert.ok(deleted.properties.recoveryId && deleted.properties.deletedOn < deleted.properties.scheduledPurgeDate);
      await refused(404, "KeyNotFound", () => client.getKey(name));
      await refused(409, "Conflict", () => makeEC(name));
    },
    async "deleted-get"() {
      const got = await client.getDeletedKey(name);
      assert.equal(got.name, name);
      assert.ok(got.properties.recoveryId && got.properties.deletedOn && got.properties.scheduledPurgeDate);
    },
    async "deleted-list"() {
      const got = [];
      for await (const d of client.listDeletedKeys()) got.push(d.name);
      assert.ok(got.includes(name), "not listed");
    },
    async recover() {
      const recovered = await (await client.beginRecoverDeletedKey(name, quick)).pollUntilDone();
      assert.equal(recovered.name, name);
      await wantVersion(undefined, second);
    },
    async purge() {
      await (await client.beginDeleteKey(name, quick)).pollUntilDone();
      await client.purgeDeletedKey(name);
      await refused(404, "KeyNotFound", () => client.getDeletedKey(name));
    },
    async restore() {
      assert.equal((await client.restoreKeyBackup(blob)).name, name);
      await wantVersion(first.properties.version, first);
      await wantVersion(undefined, second);
      await sign(second);
    },
  };
};
