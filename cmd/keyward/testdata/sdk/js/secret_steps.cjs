// The steps of secrets in ../README.md, by Azure's own client for JavaScript.
"use strict";

const assert = require("node:assert/strict");
const { SecretClient } = require("@azure/keyvault-secrets");
const { expiresOn, quick, refused } = require("./vault.cjs");

const value = 'pässwörd ✓ "quoted" <&>\n';

module.exports = (vault, mode) => {
  const client = new SecretClient(vault.url, vault.credential, vault.options);
  const prefix = `js-${mode}`;
  const name = `${prefix}-db`;
  let first, second, blob;
  return {
    async set() {
      first = await client.setSecret(name, value, { contentType: "text/plain", tags: { team: "pay" } });
      second = await client.setSecret(name, "two");
      assert.equal(first.value, value);
      assert.notEqual(first.properties.version, second.properties.version);
    },
    async get() {
      const got = await client.getSecret(name);
      assert.equal(got.value, "two");
      assert.equal(got.properties.version, second.properties.version);
      assert.equal(got.properties.enabled, true);
      assert.equal(got.properties.recoverableDays, 90);
    },
    async "get-version"() {
      const got = await client.getSecret(name, { version: first.properties.version });
      assert.equal(got.value, value);
      assert.equal(got.properties.contentType, "text/plain");
      assert.deepEqual({ ...got.properties.tags }, { team: "pay" });
    },
    async update() {
      const version = first.properties.version;
      await client.updateSecretProperties(name, version, { contentType: "text/html", tags: { team: "ops" }, expiresOn });
      const got = await client.getSecret(name, { version });
      assert.equal(got.value, value);
      assert.equal(got.properties.contentType, "text/html");
      assert.deepEqual({ ...got.properties.tags }, { team: "ops" });
      assert.deepEqual(got.properties.expiresOn, expiresOn);
    },
    async versions() {
      const got = [];
      for await (const p of client.listPropertiesOfSecretVersions(name)) got.push(p.version);
      assert.deepEqual(got.sort(), [first.properties.version, second.properties.version].sort());
    },
    async list() {
      const want = new Set(Array.from({ length: 30 }, (_, i) => `${prefix}-many-${i}`));
      for (const one of want) await client.setSecret(one, "v");
      let pages = 0;
      for await (const page of client.listPropertiesOfSecrets().byPage()) {
        pages++;
        for (const p of page) want.delete(p.name);
      }
      assert.ok(pages >= 2, "one page for 31 secrets");
      assert.deepEqual([...want], [], "not listed");
    },
    async disabled() {
      const set = await client.setSecret(`${prefix}-disabled`, "v", { enabled: false });
      assert.equal(set.properties.enabled, false);
      await refused(403, "Forbidden", () => client.getSecret(`${prefix}-disabled`));
    },
    async missing() {
      await refused(404, "SecretNotFound", () => client.getSecret(`${prefix}-missing`));
    },
    async oversize() {
      await refused(400, "BadParameter", () => client.setSecret(`${prefix}-big`, "x".repeat(25601)));
    },
    async "bad-name"() {
      await refused(400, "BadParameter", () => client.setSecret(`${prefix}_bad`, "v"));
    },
    async backup() {
      blob = await client.backupSecret(name);
      assert.ok(blob.length > 0);
      await refused(409, "Conflict", () => client.restoreSecretBackup(blob));
    },
    async delete() {
      const deleted = await (await client.beginDeleteSecret(name, quick)).pollUntilDone();
      assert.ok(deleted.recoveryId && deleted.deletedOn < deleted.scheduledPurgeDate);
      await refused(404, "SecretNotFound", () => client.getSecret(name));
      await refused(409, "Conflict", () => client.setSecret(name, "three"));
    },
    async "deleted-get"() {
      const got = await client.getDeletedSecret(name);
      assert.equal(got.name, name);
      assert.ok(got.recoveryId && got.deletedOn && got.scheduledPurgeDate);
    },
    async "deleted-list"() {
      const got = [];
      for await (const d of client.listDeletedSecrets()) got.push(d.name);
      assert.ok(got.includes(name), "not listed");
    },
    async recover() {
      const recovered = await (await client.beginRecoverDeletedSecret(name, quick)).pollUntilDone();
      assert.equal(recovered.name, name);
      assert.equal((await client.getSecret(name)).value, "two");
    },
    async purge() {
      await (await client.beginDeleteSecret(name, quick)).pollUntilDone();
      await client.purgeDeletedSecret(name);
      await refused(404, "SecretNotFound", () => client.getDeletedSecret(name));
    },
    async restore() {
      assert.equal((await client.restoreSecretBackup(blob)).name, name);
      assert.equal((await client.getSecret(name, { version: first.properties.version })).value, value);
      assert.equal((await client.getSecret(name)).value, "two");
    },
  };
};
