"""Every algorithm of keys, both ways: what the vault makes is good to the package
`cryptography`, and what that makes is good to the vault."""

import hmac
import os
from functools import partial

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.padding import PKCS7

from key_use import Use, uses
from vault import same

TEXT, PLAIN, AAD = b"text", b"two whole blocks of plain text..", b"aad"
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "P-256K": ec.SECP256K1()}


def number(n, size=None):
    return n.to_bytes(size or (n.bit_length() + 7) // 8, "big")


def digest_of(algorithm):
    h = hashes.Hash(algorithm)
    h.update(TEXT)
    return h.finalize()


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def both(steps, label, private, jwk):
    """A key that the library made, with its private half; and one that the vault made."""
    imported = steps.take_in(f"{steps.prefix}-imported-{label}", jwk)
    curve = jwk.get("crv")
    made = steps.client.get_key(f"{steps.prefix}-{curve or 'rsa-2048'}")
    return [(imported, private), (made, None)]


def signing(algorithm, hash, steps):
    """RS, PS and ES."""
    if algorithm.startswith("ES"):
        curve = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "ES256K": "P-256K"}[algorithm]
        private = new_ec(curve)
        jwk, args = ec_jwk(private, curve, steps.type("EC")), (ec.ECDSA(hash),)
        public, decode, encode = ec_public, to_der, partial(from_der, len(jwk["x"]))
    else:
        private = rsa.generate_private_key(65537, 2048)
        pad = padding.PKCS1v15() if algorithm.startswith("RS") else padding.PSS(padding.MGF1(hash), hash.digest_size)
        jwk, args = rsa_jwk(private, steps.type("RSA")), (pad, hash)
        public, decode, encode = rsa_public, bytes, bytes
    digest = digest_of(hash)
    for key, own in both(steps, algorithm, private, jwk):
        for use in uses(steps.vault, key):
            signature = use.call("sign", algorithm, digest).signature
            public(key.key).verify(decode(signature), TEXT, *args)
            signatures = [signature] + ([encode(own.sign(TEXT, *args))] if own else [])
            for signature in signatures:
                same("the verdict", use.call("verify", algorithm, digest, signature).is_valid, True)
                same("the verdict on a changed one", use.call("verify", algorithm, digest, flipped(signature)).is_valid, False)
                try:
                    public(key.key).verify(decode(flipped(signature)), TEXT, *args)
                except InvalidSignature:
                    continue
                raise AssertionError("the library takes a changed signature")


def sealing(algorithm, pad, steps):
    """RSA1_5 and RSA-OAEP."""
    private = rsa.generate_private_key(65537, 2048)
    for key, own in both(steps, algorithm.replace("_", ""), private, rsa_jwk(private, steps.type("RSA"))):
        for use in uses(steps.vault, key):
            for seal, open, sealed in (("encrypt", "decrypt", "ciphertext"), ("wrap_key", "unwrap_key", "encrypted_key")):
                by_vault = getattr(use.call(seal, algorithm, PLAIN), sealed)
                if own:
                    same("what the library opened", own.decrypt(by_vault, pad), PLAIN)
                for one in (by_vault, rsa_public(key.key).encrypt(PLAIN, pad)):
                    got = use.call(open, algorithm, one)
                    same("what the vault opened", got.plaintext if open == "decrypt" else got.key, PLAIN)


def symmetric(algorithm, bits, judge, steps):
    """The algorithms of AES, with a key that both have, and with one that the vault made.

    The vault is asked for all of them: for a symmetric key whose secret it is not
    told, this client makes one up, and encrypts and wraps with that.
    """
    secret = os.urandom(bits // 8)
    imported = steps.take_in(f"{steps.prefix}-imported-{algorithm}", {"kty": "oct-HSM", "k": secret, "key_ops": USES})
    made = steps.client.create_oct_key(f"{steps.prefix}-made-{algorithm}", size=bits, hardware_protected=True)
    for key, own in ((imported, secret), (made, None)):
        judge(algorithm, Use(steps.vault, key.id, reads=False), own)


USES = ["encrypt", "decrypt", "wrapKey", "unwrapKey"]


def gcm(algorithm, use, secret):
    by_vault = use.call("encrypt", algorithm, PLAIN, additional_authenticated_data=AAD)
    sealed = [(by_vault.iv, by_vault.ciphertext, by_vault.tag)]
    if secret:
        iv, aes = os.urandom(12), AESGCM(secret)
        same("what the library opened", aes.decrypt(by_vault.iv, by_vault.ciphertext + by_vault.tag, AAD), PLAIN)
        theirs = aes.encrypt(iv, PLAIN, AAD)
        sealed.append((iv, theirs[:-16], theirs[-16:]))
    for iv, text, tag in sealed:
        got = use.call("decrypt", algorithm, text, iv=iv, authentication_tag=tag, additional_authenticated_data=AAD)
        same("what the vault opened", got.plaintext, PLAIN)


def cbc(padded, algorithm, use, secret):
    iv = os.urandom(16)
    plain = PLAIN + b"." if padded else PLAIN
    text = use.call("encrypt", algorithm, plain, iv=iv).ciphertext
    if secret:
        pad, aes = PKCS7(128).padder(), Cipher(algorithms.AES(secret), modes.CBC(iv)).encryptor()
        same("the ciphertext", text, aes.update(pad.update(plain) + pad.finalize() if padded else plain) + aes.finalize())
    same("what the vault opened", use.call("decrypt", algorithm, text, iv=iv).plaintext, plain)


def kw(algorithm, use, secret):
    wrapped = use.call("wrap_key", algorithm, PLAIN).encrypted_key
    if secret:
        same("the wrapped key", wrapped, keywrap.aes_key_wrap(secret, PLAIN))
    same("what the vault unwrapped", use.call("unwrap_key", algorithm, wrapped).key, PLAIN)


def mac(algorithm, hash, steps):
    secret, digest = os.urandom(32), digest_of(hash)
    key = steps.take_in(f"{steps.prefix}-imported-{algorithm}", {"kty": "oct-HSM", "k": secret, "key_ops": ["sign", "verify"]})
    theirs = hmac.digest(secret, digest, hash.name)
    for use in uses(steps.vault, key):
        same("the signature", use.call("sign", algorithm, digest).signature, theirs)
        same("the verdict", use.call("verify", algorithm, digest, theirs).is_valid, True)
        same("the verdict on a changed one", use.call("verify", algorithm, digest, flipped(theirs)).is_valid, False)


def rsa_jwk(key, kty):
    n = key.private_numbers()
    return {
        "kty": kty, "n": number(n.public_numbers.n), "e": number(n.public_numbers.e), "d": number(n.d, 256),
        "p": number(n.p), "q": number(n.q), "dp": number(n.dmp1), "dq": number(n.dmq1), "qi": number(n.iqmp),
    }


def rsa_public(jwk):
    return rsa.RSAPublicNumbers(int.from_bytes(jwk.e, "big"), int.from_bytes(jwk.n, "big")).public_key()


def new_ec(curve):
    return ec.generate_private_key(CURVES[curve])


def ec_jwk(key, curve, kty):
    n, size = key.private_numbers(), (CURVES[curve].key_size + 7) // 8
    point = n.public_numbers
    return {"kty": kty, "crv": curve, "x": number(point.x, size), "y": number(point.y, size), "d": number(n.private_value, size)}


def ec_public(jwk):
    x, y = int.from_bytes(jwk.x, "big"), int.from_bytes(jwk.y, "big")
    return ec.EllipticCurvePublicNumbers(x, y, CURVES[jwk.crv]).public_key()


def to_der(signature):
    half = len(signature) // 2
    return utils.encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))


def from_der(size, signature):
    r, s = utils.decode_dss_signature(signature)
    return number(r, size) + number(s, size)


def oaep(hash):
    return padding.OAEP(padding.MGF1(hash), hash, None)


ALGORITHMS = {
    **{f + bits: partial(signing, f + bits, hash) for f in ("RS", "PS", "ES") for bits, hash in HASHES.items()},
    "ES256K": partial(signing, "ES256K", hashes.SHA256()),
    "RSA1_5": partial(sealing, "RSA1_5", padding.PKCS1v15()),
    "RSA-OAEP": partial(sealing, "RSA-OAEP", oaep(hashes.SHA1())),
    "RSA-OAEP-256": partial(sealing, "RSA-OAEP-256", oaep(hashes.SHA256())),
    **{
        f"A{bits}{suffix}": partial(symmetric, f"A{bits}{suffix}", bits, judge)
        for bits in (128, 192, 256)
        for suffix, judge in {"GCM": gcm, "CBC": partial(cbc, False), "CBCPAD": partial(cbc, True), "KW": kw}.items()
    },
    **{"HS" + bits: partial(mac, "HS" + bits, hash) for bits, hash in HASHES.items()},
}
