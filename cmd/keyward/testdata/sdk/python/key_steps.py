"""The steps of keys in ../README.md, by Azure's own client for Python."""

from datetime import timedelta

from azure.keyvault.keys import JsonWebKey, KeyClient, KeyRotationLifetimeAction, KeyRotationPolicy, KeyRotationPolicyAction

from key_algorithms import ALGORITHMS, ec_jwk, new_ec
from key_use import Use
from vault import EXPIRES, refused, same

PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "k")


class KeySteps:
    algorithms = ALGORITHMS  # steps too

    def __init__(self, vault, mode):
        self.vault, self.hsm = vault, mode == "hsm"
        self.client = KeyClient(vault.url, vault.credential, **vault.options)
        self.prefix = "python-" + mode
        self.name = self.prefix + "-db"

    def type(self, kty):
        """A type of keys, as this kind of vault holds them best."""
        return kty + "-HSM" if self.hsm else kty

    def make_ec(self, name, **attributes):
        return self.client.create_ec_key(name, hardware_protected=self.hsm, **attributes)

    def take_in(self, name, jwk):
        got = self.client.import_key(name, JsonWebKey(**jwk), hardware_protected=self.hsm)
        same("the private members", {m: getattr(got.key, m, None) for m in PRIVATE}, dict.fromkeys(PRIVATE))
        return got

    def want_version(self, version, want):
        got = self.client.get_key(self.name, version)
        same("the id", got.id, want.id)
        same("the public key", (got.key.x, got.key.y), (want.key.x, want.key.y))
        return got

    def sign(self, key, digest=bytes(32)):
        """Asks the vault for a signature, whatever this client knows of the key."""
        return Use(self.vault, key.id, reads=False).call("sign", "ES256", digest)

    def create(self):
        for size in (2048, 3072):
            got = self.client.create_rsa_key(f"{self.prefix}-rsa-{size}", size=size, hardware_protected=self.hsm)
            same("the type", got.key_type, self.type("RSA"))
            same("the modulus's bytes and the exponent", (len(got.key.n), got.key.e), (size // 8, b"\1\0\1"))
            same("the operations", sorted(got.key_operations), ["decrypt", "encrypt", "sign", "unwrapKey", "verify", "wrapKey"])
        for curve, size in {"P-256": 32, "P-384": 48, "P-521": 66, "P-256K": 32}.items():
            got = self.make_ec(f"{self.prefix}-{curve}", curve=curve)
            same("the type", (got.key_type, got.key.crv), (self.type("EC"), curve))
            same("the point's bytes", (len(got.key.x), len(got.key.y)), (size, size))
        self.first = self.make_ec(self.name, tags={"team": "pay"}, key_operations=["sign", "verify"])
        same("the vault", self.first.properties.vault_url, self.vault.url)

    def import_(self):
        jwk = ec_jwk(new_ec("P-384"), "P-384", self.type("EC"))
        got = self.take_in(self.prefix + "-imported", jwk)
        same("the key", (got.key.crv, got.key.x, got.key.y), ("P-384", jwk["x"], jwk["y"]))

    def get(self):
        got = self.want_version(None, self.first)
        same("enabled", got.properties.enabled, True)
        same("the recoverable days", got.properties.recoverable_days, 90)

    def get_version(self):
        got = self.want_version(self.first.properties.version, self.first)
        same("the tags", got.properties.tags, {"team": "pay"})
        same("the operations", sorted(got.key_operations), ["sign", "verify"])

    def update(self):
        version = self.first.properties.version
        self.client.update_key_properties(
            self.name, version, tags={"team": "ops"}, expires_on=EXPIRES, key_operations=["sign"])
        got = self.want_version(version, self.first)
        same("the tags", got.properties.tags, {"team": "ops"})
        same("the expiry", got.properties.expires_on, EXPIRES)
        same("the operations", got.key_operations, ["sign"])

    def rotate(self):
        self.second = self.client.rotate_key(self.name)
        assert self.second.id != self.first.id and self.second.key.x != self.first.key.x, "rotated to the same key"
        self.want_version(None, self.second)
        self.want_version(self.first.properties.version, self.first)

    def versions(self):
        want = {self.first.properties.version, self.second.properties.version}
        for _ in range(25):
            self.second = self.client.rotate_key(self.name)
            want.add(self.second.properties.version)
        pages = [[p.version for p in page] for page in self.client.list_properties_of_key_versions(self.name).by_page()]
        assert len(pages) >= 2, "one page for 27 versions"
        same("the versions", {version for page in pages for version in page}, want)

    def rotation_policy(self):
        rotate = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P30D")
        put = self.client.update_key_rotation_policy(
            self.name, KeyRotationPolicy(), expires_in="P90D", lifetime_actions=[rotate])
        for policy in (put, self.client.get_key_rotation_policy(self.name)):
            same("the expiry", policy.expires_in, "P90D")
            assert policy.created_on, "when it was made is missing"
            assert ("Rotate", "P30D") in {(a.action, a.time_after_create) for a in policy.lifetime_actions}, "it does not rotate"
        self.second = self.client.rotate_key(self.name)
        same("the life", self.second.properties.expires_on - self.second.properties.created_on, timedelta(days=90))

    def list(self):
        want = {f"{self.prefix}-many-{i:02}" for i in range(30)}
        for name in want:
            self.make_ec(name)
        pages = [[p.name for p in page] for page in self.client.list_properties_of_keys().by_page()]
        assert len(pages) >= 2, "one page for 30 keys and more"
        missing = want - {name for page in pages for name in page}
        assert not missing, f"not listed: {missing}"

    def disabled(self):
        key = self.make_ec(self.prefix + "-disabled", enabled=False)
        same("enabled", key.properties.enabled, False)
        refused(403, "Forbidden", lambda: self.sign(key))

    def not_allowed(self):
        use = Use(self.vault, self.first.id, reads=False)
        refused(403, "Forbidden", lambda: use.call("verify", "ES256", bytes(32), bytes(64)))

    def not_yet(self):
        key = self.make_ec(self.prefix + "-early", not_before=EXPIRES)
        refused(403, "Forbidden", lambda: self.sign(key))

    def missing(self):
        refused(404, "KeyNotFound", lambda: self.client.get_key(self.prefix + "-missing"))

    def bad_name(self):
        refused(400, "BadParameter", lambda: self.make_ec(self.prefix + "_bad"))

    def bad_digest(self):
        refused(400, "BadParameter", lambda: self.sign(self.second, bytes(31)))

    def backup(self):
        self.blob = self.client.backup_key(self.name)
        assert self.blob, "no backup"
        refused(409, "Conflict", lambda: self.client.restore_key_backup(self.blob))

    def delete(self):
        poller = self.client.begin_delete_key(self.name)
        deleted = poller.result()
        poller.wait()
        assert deleted.recovery_id and deleted.deleted_date < deleted.scheduled_purge_date
        refused(404, "KeyNotFound", lambda: self.client.get_key(self.name))
        refused(409, "Conflict", lambda: self.make_ec(self.name))

    def deleted_get(self):
        got = self.client.get_deleted_key(self.name)
        same("the name", got.name, self.name)
        assert got.recovery_id and got.deleted_date and got.scheduled_purge_date

    def deleted_list(self):
        assert self.name in {d.name for d in self.client.list_deleted_keys()}, "not listed"

    def recover(self):
        poller = self.client.begin_recover_deleted_key(self.name)
        same("the name", poller.result().name, self.name)
        poller.wait()
        self.want_version(None, self.second)

    def purge(self):
        self.client.begin_delete_key(self.name).wait()
        self.client.purge_deleted_key(self.name)
        refused(404, "KeyNotFound", lambda: self.client.get_deleted_key(self.name))

    def restore(self):
        same("the name", self.client.restore_key_backup(self.blob).name, self.name)
        self.want_version(self.first.properties.version, self.first)
        self.want_version(None, self.second)
        self.sign(self.second)
