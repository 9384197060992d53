// Every algorithm of keys, both ways: what the vault makes is good to node:crypto,
// and what that makes is good to the vault.
"use strict";

const assert = require("node:assert/strict");
const crypto = require("node:crypto");
const { uses } = require("./key_use.cjs");

const { RSA_NO_PADDING, RSA_PKCS1_PADDING, RSA_PKCS1_OAEP_PADDING, RSA_PKCS1_PSS_PADDING } = crypto.constants;
const text = Buffer.from("text");
const plain = Buffer.from("two whole blocks of plain text..");
const aad = Buffer.from("aad");

// The curves as OpenSSL names them.
const curves = { "P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1", "P-256K": "secp256k1" };
const curveOf = { ES256: "P-256", ES384: "P-384", ES512: "P-521", ES256K: "P-256K" };

const flipped = (data) => Buffer.concat([data.subarray(0, -1), Buffer.from([data.at(-1) ^ 1])]);
const bytes = (base64url) => Buffer.from(base64url, "base64url");

// privateJWK is a key of the library's, as the vault takes it in.
function privateJWK(key, kty) {
  const { crv, kty: _, ...members } = key.export({ format: "jwk" });
  const jwk = Object.fromEntries(Object.entries(members).map(([name, value]) => [name, bytes(value)]));
  return { ...jwk, kty, ...(crv && { crv: crv === "secp256k1" ? "P-256K" : crv }) };
}

// publicKey is the library's of what the vault tells.
function publicKey({ key }) {
  const members = Object.fromEntries(
    ["n", "e", "x", "y"].filter((name) => key[name]).map((name) => [name, Buffer.from(key[name]).toString("base64url")]),
  );
  const crv = key.crv === "P-256K" ? "secp256k1" : key.crv;
  return crypto.createPublicKey({ key: { kty: key.kty.replace("-HSM", ""), ...(crv && { crv }), ...members }, format: "jwk" });
}

const newRSA = () => crypto.generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
const newEC = (curve) => crypto.generateKeyPairSync("ec", { namedCurve: curves[curve] }).privateKey;

// both are a key that the library made, with its private half, and one that the
// vault made.
async function both(steps, label, own, curve) {
  const jwk = privateJWK(own, steps.type(curve ? "EC" : "RSA"));
  return [
    [await steps.takeIn(`${steps.prefix}-imported-${label}`, jwk), own],
    [await steps.client.getKey(`${steps.prefix}-${curve ?? "rsa-2048"}`)],
  ];
}

// RS, PS and ES.
async function signing(algorithm, hash, steps) {
  const curve = curveOf[algorithm];
  const how = curve
    ? { dsaEncoding: "ieee-p1363" }
    : algorithm.startsWith("RS")
      ? { padding: RSA_PKCS1_PADDING }
      : { padding: RSA_PKCS1_PSS_PADDING, saltLength: crypto.constants.RSA_PSS_SALTLEN_DIGEST };
  const digest = crypto.createHash(hash).update(text).digest();
  for (const [key, own] of await both(steps, algorithm, curve ? newEC(curve) : newRSA(), curve)) {
    const verifies = (signature) => crypto.verify(hash, text, { key: publicKey(key), ...how }, signature);
    for (const use of uses(steps.vault, key)) {
      const signatures = [(await use("sign", algorithm, digest)).result, (await use("signData", algorithm, text)).result];
      for (const signature of signatures) {
        assert.ok(verifies(signature), "the library refuses what the vault signed");
        assert.ok(!verifies(flipped(signature)), "the library takes a changed signature");
      }
      if (own) signatures.push(crypto.sign(hash, text, { key: own, ...how }));
      for (const signature of signatures) {
        assert.ok((await use("verify", algorithm, digest, signature)).result, "the vault refuses a signature");
        assert.ok(!(await use("verify", algorithm, digest, flipped(signature))).result, "the vault takes a changed signature");
        await verifiesData(use, algorithm, signature);
      }
    }
  }
}

// At this version the client, when it verifies PS itself, takes it for RS, and
// refuses what is good.
async function verifiesData(use, algorithm, signature) {
  const { result } = await use("verifyData", algorithm, text, signature);
  assert.equal(result, !(use.local("verifyData", algorithm) && algorithm.startsWith("PS")), "the verdict on data");
}

// opened is what the library decrypts. Some versions of Node do not take the padding
// of RSA1_5 off, so it is done here: 0, 2, bytes that are not 0, 0.
function opened(key, how, sealed) {
  if (how.padding !== RSA_PKCS1_PADDING) return crypto.privateDecrypt({ key, ...how }, sealed);
  const block = crypto.privateDecrypt({ key, padding: RSA_NO_PADDING }, sealed);
  const end = block.indexOf(0, 2);
  assert.ok(block[0] === 0 && block[1] === 2 && end >= 10, "the padding of RSA1_5");
  return block.subarray(end + 1);
}

// RSA1_5 and RSA-OAEP.
async function sealing(algorithm, how, steps) {
  for (const [key, own] of await both(steps, algorithm.replace("_", ""), newRSA())) {
    for (const use of uses(steps.vault, key)) {
      for (const [seal, open] of [["encrypt", "decrypt"], ["wrapKey", "unwrapKey"]]) {
        const byVault = (await use(seal, algorithm, plain)).result;
        if (own) assert.deepEqual(opened(own, how, byVault), plain, "what the library opened");
        for (const sealed of [byVault, crypto.publicEncrypt({ key: publicKey(key), ...how }, plain)]) {
          assert.deepEqual(Buffer.from((await use(open, algorithm, sealed)).result), plain, "what the vault opened");
        }
      }
    }
  }
}

// The algorithms of AES, with a key that both have, and with one that the vault made.
async function symmetric(algorithm, bits, judge, steps) {
  const k = crypto.randomBytes(bits / 8);
  const keyOps = ["encrypt", "decrypt", "wrapKey", "unwrapKey"];
  const imported = await steps.takeIn(`${steps.prefix}-imported-${algorithm}`, { kty: "oct-HSM", k, keyOps });
  const made = await steps.client.createOctKey(`${steps.prefix}-made-${algorithm}`, { keySize: bits, hsm: true });
  for (const [key, own] of [[imported, k], [made]]) {
    for (const use of uses(steps.vault, key)) await judge(algorithm, bits, use, own);
  }
}

async function gcm(algorithm, bits, use, k) {
  const byVault = await use("encrypt", { algorithm, plaintext: plain, additionalAuthenticatedData: aad });
  const sealed = [byVault];
  if (k) {
    const opener = crypto.createDecipheriv(`aes-${bits}-gcm`, k, byVault.iv).setAAD(aad).setAuthTag(byVault.authenticationTag);
    assert.deepEqual(Buffer.concat([opener.update(byVault.result), opener.final()]), plain, "what the library opened");
    const iv = crypto.randomBytes(12);
    const sealer = crypto.createCipheriv(`aes-${bits}-gcm`, k, iv).setAAD(aad);
    const result = Buffer.concat([sealer.update(plain), sealer.final()]);
    sealed.push({ iv, result, authenticationTag: sealer.getAuthTag() });
  }
  for (const { iv, result: ciphertext, authenticationTag } of sealed) {
    const got = await use("decrypt", { algorithm, ciphertext, iv, authenticationTag, additionalAuthenticatedData: aad });
    assert.deepEqual(Buffer.from(got.result), plain, "what the vault opened");
  }
}

const cbc = (padded) => async (algorithm, bits, use, k) => {
  const iv = crypto.randomBytes(16);
  const plaintext = padded ? Buffer.concat([plain, Buffer.from(".")]) : plain;
  const ciphertext = (await use("encrypt", { algorithm, plaintext, iv })).result;
  if (k) {
    const aes = crypto.createCipheriv(`aes-${bits}-cbc`, k, iv).setAutoPadding(padded);
    assert.deepEqual(Buffer.from(ciphertext), Buffer.concat([aes.update(plaintext), aes.final()]), "the ciphertext");
  }
  assert.deepEqual(Buffer.from((await use("decrypt", { algorithm, ciphertext, iv })).result), plaintext, "what the vault opened");
};

async function kw(algorithm, bits, use, k) {
  const wrapped = (await use("wrapKey", algorithm, plain)).result;
  if (k) {
    const aes = crypto.createCipheriv(`id-aes${bits}-wrap`, k, Buffer.alloc(8, 0xa6));
    assert.deepEqual(Buffer.from(wrapped), Buffer.concat([aes.update(plain), aes.final()]), "the wrapped key");
  }
  assert.deepEqual(Buffer.from((await use("unwrapKey", algorithm, wrapped)).result), plain, "what the vault unwrapped");
}

async function mac(algorithm, hash, steps) {
  const k = crypto.randomBytes(32);
  const digest = crypto.createHash(hash).update(text).digest();
  const key = await steps.takeIn(`${steps.prefix}-imported-${algorithm}`, { kty: "oct-HSM", k, keyOps: ["sign", "verify"] });
  const theirs = crypto.createHmac(hash, k).update(digest).digest();
  for (const use of uses(steps.vault, key)) {
    assert.deepEqual(Buffer.from((await use("sign", algorithm, digest)).result), theirs, "the signature");
    assert.ok((await use("verify", algorithm, digest, theirs)).result, "the vault refuses a signature");
    assert.ok(!(await use("verify", algorithm, digest, flipped(theirs))).result, "the vault takes a changed signature");
  }
}

// algorithms are steps by their own names.
function algorithms(steps) {
  const all = { ES256K: () => signing("ES256K", "sha256", steps) };
  for (const bits of ["256", "384", "512"]) {
    for (const family of ["RS", "PS", "ES"]) all[family + bits] = () => signing(family + bits, `sha${bits}`, steps);
    all[`HS${bits}`] = () => mac(`HS${bits}`, `sha${bits}`, steps);
  }
  const oaep = (oaepHash) => ({ padding: RSA_PKCS1_OAEP_PADDING, oaepHash });
  for (const [name, how] of [["RSA1_5", { padding: RSA_PKCS1_PADDING }], ["RSA-OAEP", oaep("sha1")], ["RSA-OAEP-256", oaep("sha256")]]) {
    all[name] = () => sealing(name, how, steps);
  }
  for (const bits of [128, 192, 256]) {
    for (const [suffix, judge] of Object.entries({ GCM: gcm, CBC: cbc(false), CBCPAD: cbc(true), KW: kw })) {
      all[`A${bits}${suffix}`] = () => symmetric(`A${bits}${suffix}`, bits, judge, steps);
    }
  }
  return all;
}

module.exports = { algorithms, newEC, privateJWK };
