// The steps of certificates in ../README.md, by Azure's own client for JavaScript.
"use strict";

const assert = require("node:assert/strict");
const { X509Certificate, createPrivateKey } = require("node:crypto");
const tls = require("node:tls");
const forge = require("node-forge");
const { CertificateClient } = require("@azure/keyvault-certificates");
const { SecretClient } = require("@azure/keyvault-secrets");
const { quick, refused } = require("./vault.cjs");

const host = "example.org";
const day = 24 * 60 * 60 * 1000;
const pem = (der, label) => forge.pem.encode({ type: label, body: Buffer.from(der).toString("binary") });
const der = (cert) => Buffer.from(forge.asn1.toDer(forge.pki.certificateToAsn1(cert)).getBytes(), "binary");

// A certificate authority outside of the vault. node:crypto makes no certificates,
// and this library those of RSA keys.
function newAuthority() {
  const keys = forge.pki.rsa.generateKeyPair(2048);
  const subject = [{ name: "commonName", value: "ca.example.org" }];
  let serial = 1;
  function issue(name, publicKey, ca = false) {
    const cert = forge.pki.createCertificate();
    cert.publicKey = publicKey;
    cert.serialNumber = (serial++).toString(16).padStart(2, "0");
    cert.validity.notBefore = new Date(Date.now() - day);
    cert.validity.notAfter = new Date(Date.now() + 30 * day);
    cert.setSubject([{ name: "commonName", value: name }]);
    cert.setIssuer(subject);
    cert.setExtensions([
      { name: "basicConstraints", cA: ca, critical: true },
      { name: "subjectAltName", altNames: [{ type: 2, value: name }] },
    ]);
    cert.sign(keys.privateKey, forge.md.sha256.create());
    return cert;
  }
  return { issue, cert: issue("ca.example.org", keys.publicKey, true) };
}

// Has a TLS server with what a secret holds, and a client that trusts the root, talk.
async function serves(options, root, want) {
  const server = tls.createServer(options);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await new Promise((resolve, reject) => {
      const socket = tls.connect({ port: server.address().port, host: "127.0.0.1", servername: host, ca: root }, () => {
        const seen = socket.getPeerCertificate().raw;
        socket.destroy();
        seen.equals(want) ? resolve() : reject(new Error("another certificate was served"));
      });
      socket.on("error", reject);
    });
  } finally {
    server.close();
  }
}

module.exports = (vault, mode) => {
  const client = new CertificateClient(vault.url, vault.credential, vault.options);
  const secrets = new SecretClient(vault.url, vault.credential, vault.options);
  const prefix = `js-${mode}`;
  const name = `${prefix}-web`;
  const authority = newAuthority();
  const root = pem(der(authority.cert), "CERTIFICATE");
  let first, second, blob;

  const policy = (issuerName = "Self", more = {}) => ({
    issuerName,
    subject: `CN=${host}`,
    subjectAlternativeNames: { dnsNames: [host, `www.${host}`] },
    keyType: "RSA",
    keySize: 2048,
    validityInMonths: 3,
    ...more,
  });

  async function make(name, options) {
    const poller = await client.beginCreateCertificate(name, policy(), { ...quick, ...options });
    const made = await poller.pollUntilDone();
    assert.equal(made.name, name);
    return made;
  }

  async function wantVersion(version, want) {
    const got = version ? await client.getCertificateVersion(name, version) : await client.getCertificate(name);
    assert.equal(got.properties.id, want.properties.id);
    assert.deepEqual(Buffer.from(got.cer), Buffer.from(want.cer));
    return got;
  }

  // The secret behind a certificate serves TLS.
  async function served(name, want, trusted) {
    const got = await secrets.getSecret(name);
    assert.equal(got.properties.managed, true);
    assert.equal(got.properties.contentType, "application/x-pkcs12");
    // OpenSSL 3, which node is built with, has no ciphers of old PFXs: the library reads it.
    const pfx = forge.pkcs12.pkcs12FromAsn1(forge.asn1.fromDer(Buffer.from(got.value, "base64").toString("binary")), "");
    const [key] = Object.values(pfx.getBags({ bagType: forge.pki.oids.pkcs8ShroudedKeyBag }))[0];
    const certs = Object.values(pfx.getBags({ bagType: forge.pki.oids.certBag }))[0].map((bag) => forge.pki.certificateToPem(bag.cert));
    await serves({ key: forge.pki.privateKeyToPem(key.key), cert: certs.join("") }, trusted, want);
  }

  return {
    async create() {
      first = await make(name, { tags: { team: "web" } });
      const cert = new X509Certificate(Buffer.from(first.cer));
      assert.equal(cert.issuer, cert.subject);
      assert.equal(cert.subjectAltName, `DNS:${host}, DNS:www.${host}`);
      assert.equal(Buffer.from(first.properties.x509Thumbprint).toString("hex"), cert.fingerprint.replaceAll(":", "").toLowerCase());
      const poller = await client.getCertificateOperation(name, quick);
      assert.equal(poller.getOperationState().certificateOperation.status, "completed");
    },
    async get() {
      const got = await wantVersion(undefined, first);
      assert.deepEqual({ ...got.properties.tags }, { team: "web" });
      assert.equal(got.policy.keyType, "RSA");
    },
    async "get-version"() {
      await wantVersion(first.properties.version, first);
    },
    async serve() {
      await served(name, Buffer.from(first.cer), pem(first.cer, "CERTIFICATE"));
    },
    async "import-pfx"() {
      const keys = forge.pki.rsa.generateKeyPair(2048);
      const cert = authority.issue(host, keys.publicKey);
      for (const password of ["", "battery staple"]) {
        const asn1 = forge.pkcs12.toPkcs12Asn1(keys.privateKey, [cert, authority.cert], password, { algorithm: "3des" });
        const pfx = Buffer.from(forge.asn1.toDer(asn1).getBytes(), "binary");
        const one = `${prefix}-pfx-${password ? "sealed" : "open"}`;
        const got = await client.importCertificate(one, pfx, { password: password || undefined });
        assert.deepEqual(Buffer.from(got.cer), der(cert));
        await served(one, der(cert), root);
        if (password) await refused(400, "BadParameter", () => client.importCertificate(`${prefix}-wrong`, pfx, { password: "wrong" }));
      }
    },
    async "import-pem"() {
      const keys = forge.pki.rsa.generateKeyPair(2048);
      const cert = authority.issue(host, keys.publicKey);
      const key = createPrivateKey(forge.pki.privateKeyToPem(keys.privateKey)).export({ type: "pkcs8", format: "pem" });
      const one = `${prefix}-pem`;
      const text = Buffer.from(key + forge.pki.certificateToPem(cert));
      const got = await client.importCertificate(one, text, { policy: { contentType: "application/x-pem-file" } });
      assert.deepEqual(Buffer.from(got.cer), der(cert));
      const secret = await secrets.getSecret(one);
      assert.equal(secret.properties.contentType, "application/x-pem-file");
      await serves({ key: secret.value, cert: secret.value.slice(secret.value.indexOf("-----BEGIN CERTIFICATE")) }, root, der(cert));
    },
    async merge() {
      const one = `${prefix}-signed`;
      await client.beginCreateCertificate(one, policy("Unknown"), quick);
      const operation = (await client.getCertificateOperation(one, quick)).getOperationState().certificateOperation;
      assert.equal(operation.status, "inProgress");
      const csr = forge.pki.certificationRequestFromPem(pem(operation.csr, "CERTIFICATE REQUEST"));
      assert.ok(csr.verify(), "the signing request is not signed by its key");
      const cert = authority.issue(host, csr.publicKey);
      const other = authority.issue(host, authority.cert.publicKey);
      await refused(400, "BadParameter", () => client.mergeCertificate(one, [der(other)]));
      const merged = await client.mergeCertificate(one, [der(cert), der(authority.cert)]);
      assert.deepEqual(Buffer.from(merged.cer), der(cert));
      await served(one, der(cert), root);
    },
    async cancel() {
      const one = `${prefix}-cancelled`;
      await client.beginCreateCertificate(one, policy("Unknown"), quick);
      const poller = await client.getCertificateOperation(one, quick);
      await poller.cancelOperation();
      assert.equal((await client.getCertificateOperation(one, quick)).getOperationState().certificateOperation.cancellationRequested, true);
      await client.deleteCertificateOperation(one);
      // This client asks for the certificate first, which was never made.
      await refused(404, "CertificateNotFound", () => client.getCertificateOperation(one, quick));
    },
    async policies() {
      assert.equal((await client.getCertificatePolicy(name)).validityInMonths, 3);
      const lifetimeActions = [{ action: "AutoRenew", daysBeforeExpiry: 20 }];
      await client.updateCertificatePolicy(name, policy("Self", { lifetimeActions }));
      const [action] = (await client.getCertificatePolicy(name)).lifetimeActions;
      assert.deepEqual([action.action, action.daysBeforeExpiry], ["AutoRenew", 20]);
    },
    async update() {
      const { version } = first.properties;
      await client.updateCertificateProperties(name, version, { tags: { team: "ops" } });
      assert.deepEqual({ ...(await wantVersion(version, first)).properties.tags }, { team: "ops" });
    },
    async versions() {
      second = await make(name);
      assert.notEqual(second.properties.id, first.properties.id);
      assert.notDeepEqual(Buffer.from(second.cer), Buffer.from(first.cer));
      const got = [];
      for await (const p of client.listPropertiesOfCertificateVersions(name)) got.push(p.version);
      assert.deepEqual(got.sort(), [first.properties.version, second.properties.version].sort());
      await wantVersion(undefined, second);
    },
    async list() {
      const want = new Set([name, `${prefix}-pem`, `${prefix}-signed`]);
      for await (const p of client.listPropertiesOfCertificates()) want.delete(p.name);
      assert.deepEqual([...want], [], "not listed");
    },
    async disabled() {
      const one = `${prefix}-disabled`;
      await make(one, { enabled: false });
      assert.equal((await client.getCertificate(one)).properties.enabled, false);
      await refused(403, "Forbidden", () => secrets.getSecret(one));
    },
    async contacts() {
      await client.setContacts([{ email: "pki@example.org", name: "PKI", phone: "1" }]);
      assert.deepEqual((await client.getContacts()).map((c) => [c.email, c.name, c.phone]), [["pki@example.org", "PKI", "1"]]);
      await client.deleteContacts();
      assert.equal((await client.getContacts())?.length ?? 0, 0);
    },
    async missing() {
      await refused(404, "CertificateNotFound", () => client.getCertificate(`${prefix}-missing`));
    },
    async "bad-name"() {
      await refused(400, "BadParameter", () => client.beginCreateCertificate(`${prefix}_bad`, policy(), quick));
    },
    async backup() {
      blob = await client.backupCertificate(name);
      assert.ok(blob.length > 0);
      await refused(409, "Conflict", () => client.restoreCertificateBackup(blob));
    },
    async delete() {
      const poller = await client.beginDeleteCertificate(name, quick);
      const deleted = await poller.pollUntilDone();
      assert.ok(deleted.recoveryId && deleted.deletedOn < deleted.scheduledPurgeDate);
      await refused(404, "CertificateNotFound", () => client.getCertificate(name));
      await refused(404, "SecretNotFound", () => secrets.getSecret(name));
    },
    async "deleted-get"() {
      const got = await client.getDeletedCertificate(name);
      assert.equal(got.name, name);
      assert.ok(got.recoveryId && got.deletedOn && got.scheduledPurgeDate);
    },
    async "deleted-list"() {
      const got = [];
      for await (const d of client.listDeletedCertificates()) got.push(d.name);
      assert.ok(got.includes(name), "not listed");
    },
    async recover() {
      const poller = await client.beginRecoverDeletedCertificate(name, quick);
      assert.equal((await poller.pollUntilDone()).name, name);
      await wantVersion(undefined, second);
    },
    async purge() {
      await (await client.beginDeleteCertificate(name, quick)).pollUntilDone();
      await client.purgeDeletedCertificate(name);
      await refused(404, "CertificateNotFound", () => client.getDeletedCertificate(name));
    },
    async restore() {
      assert.equal((await client.restoreCertificateBackup(blob)).name, name);
      await wantVersion(first.properties.version, first);
      await wantVersion(undefined, second);
      await served(name, Buffer.from(second.cer), pem(second.cer, "CERTIFICATE"));
    },
  };
};
