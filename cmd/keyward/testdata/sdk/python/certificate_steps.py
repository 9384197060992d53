"""The steps of certificates in ../README.md, by Azure's own client for Python."""

import base64
import ssl
import tempfile
from datetime import datetime, timedelta, timezone

from azure.keyvault.certificates import (
    CertificateClient, CertificateContact, CertificateContentType, CertificatePolicy, CertificatePolicyAction, KeyType,
    LifetimeAction)
from azure.keyvault.secrets import SecretClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from vault import refused, same

HOST = "example.org"
PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER


def called(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


class Authority:
    """A certificate authority outside of the vault."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.cert = self.issue("ca.example.org", self.key.public_key(), ca=True)

    def issue(self, name, public_key, ca=False):
        now = datetime.now(timezone.utc)
        return (
            x509.CertificateBuilder().subject_name(called(name)).issuer_name(called("ca.example.org")).public_key(public_key)
            .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca, None), True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
            .sign(self.key, hashes.SHA256()))


def private_pem(key):
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def serves(key, chain, root):
    """Has a TLS server with the key and the chain, and a client that trusts the root, talk in memory."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as f:
        f.write(private_pem(key) + b"".join(c.public_bytes(PEM) for c in chain))
        f.flush()
        server.load_cert_chain(f.name)
    client = ssl.create_default_context(cadata=root.public_bytes(PEM).decode())
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    a = client.wrap_bio(down, up, server_hostname=HOST)
    b = server.wrap_bio(up, down, server_side=True)
    done = set()
    for _ in range(10):
        for one in (a, b):
            try:
                one.do_handshake()
                done.add(one)
            except ssl.SSLWantReadError:
                pass
        if done == {a, b}:
            return
    raise AssertionError("no handshake")


class CertificateSteps:
    def __init__(self, vault, mode):
        self.client = CertificateClient(vault.url, vault.credential, **vault.options)
        self.secrets = SecretClient(vault.url, vault.credential, **vault.options)
        self.prefix = "python-" + mode
        self.name = self.prefix + "-web"
        self.authority = Authority()

    def policy(self, issuer="Self", **more):
        return CertificatePolicy(
            issuer_name=issuer, subject="CN=" + HOST, san_dns_names=[HOST, "www." + HOST], key_type=KeyType.ec, key_curve_name="P-256",
            validity_in_months=3, **more)

    def make(self, name, **more):
        made = self.client.begin_create_certificate(name, self.policy(), **more).result()
        same("the name", made.name, name)
        return made

    def want_version(self, version, want):
        got = self.client.get_certificate_version(self.name, version) if version else self.client.get_certificate(self.name)
        same("the id", got.id, want.id)
        same("the certificate", bytes(got.cer), bytes(want.cer))
        return got

    def served(self, name, want, root=None):
        """The secret behind a certificate serves TLS."""
        got = self.secrets.get_secret(name)
        same("managed", got.properties.managed, True)
        same("the content type", got.properties.content_type, "application/x-pkcs12")
        key, leaf, chain = pkcs12.load_key_and_certificates(base64.b64decode(got.value), None)
        same("the certificate in the secret", leaf.public_bytes(DER), want)
        serves(key, [leaf, *chain], root or leaf)

    def create(self):
        self.first = self.make(self.name, tags={"team": "web"})
        cert = x509.load_der_x509_certificate(bytes(self.first.cer))
        same("the issuer", cert.issuer, cert.subject)
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
        same("the names", names, [HOST, "www." + HOST])
        same("the thumbprint", self.first.properties.x509_thumbprint, cert.fingerprint(hashes.SHA1()))
        same("the operation", self.client.get_certificate_operation(self.name).status, "completed")

    def get(self):
        got = self.want_version(None, self.first)
        same("the tags", got.properties.tags, {"team": "web"})
        same("the key's type", got.policy.key_type, KeyType.ec)

    def get_version(self):
        self.want_version(self.first.properties.version, self.first)

    def serve(self):
        self.served(self.name, bytes(self.first.cer))

    def import_pfx(self):
        key = ec.generate_private_key(ec.SECP384R1())
        cert = self.authority.issue(HOST, key.public_key())
        for password in (None, b"battery staple"):
            seal = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
            pfx = pkcs12.serialize_key_and_certificates(b"web", key, cert, [self.authority.cert], seal)
            name = f"{self.prefix}-pfx-{'sealed' if password else 'open'}"
            got = self.client.import_certificate(name, pfx, password=password.decode() if password else None)
            same("the certificate", bytes(got.cer), cert.public_bytes(DER))
            self.served(name, cert.public_bytes(DER), self.authority.cert)
        refused(400, "BadParameter", lambda: self.client.import_certificate(self.prefix + "-wrong", pfx, password="wrong"))

    def import_pem(self):
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self.authority.issue(HOST, key.public_key())
        name = self.prefix + "-pem"
        got = self.client.import_certificate(
            name, private_pem(key) + cert.public_bytes(PEM), policy=CertificatePolicy(content_type=CertificateContentType.pem))
        same("the certificate", bytes(got.cer), cert.public_bytes(DER))
        secret = self.secrets.get_secret(name)
        same("the content type", secret.properties.content_type, "application/x-pem-file")
        back = serialization.load_pem_private_key(secret.value.encode(), None)
        serves(back, [x509.load_pem_x509_certificate(secret.value.encode())], self.authority.cert)

    def merge(self):
        name = self.prefix + "-signed"
        self.client.begin_create_certificate(name, self.policy("Unknown"))
        operation = self.client.get_certificate_operation(name)
        same("the operation", operation.status, "inProgress")
        csr = x509.load_der_x509_csr(bytes(operation.csr))
        assert csr.is_signature_valid, "the signing request is not signed by its key"
        cert = self.authority.issue(HOST, csr.public_key())
        other = self.authority.issue(HOST, ec.generate_private_key(ec.SECP256R1()).public_key())
        refused(400, "BadParameter", lambda: self.client.merge_certificate(name, [other.public_bytes(DER)]))
        merged = self.client.merge_certificate(name, [cert.public_bytes(DER), self.authority.cert.public_bytes(DER)])
        same("the certificate", bytes(merged.cer), cert.public_bytes(DER))
        self.served(name, cert.public_bytes(DER), self.authority.cert)

    def cancel(self):
        name = self.prefix + "-cancelled"
        self.client.begin_create_certificate(name, self.policy("Unknown"))
        same("the request", self.client.cancel_certificate_operation(name).cancellation_requested, True)
        self.client.delete_certificate_operation(name)
        refused(404, "PendingCertificateNotFound", lambda: self.client.get_certificate_operation(name).status)

    def policies(self):
        policy = self.client.get_certificate_policy(self.name)
        same("the months", policy.validity_in_months, 3)
        action = LifetimeAction(CertificatePolicyAction.auto_renew, days_before_expiry=20)
        self.client.update_certificate_policy(self.name, self.policy(lifetime_actions=[action]))
        actions = self.client.get_certificate_policy(self.name).lifetime_actions
        same("the actions", [(a.action, a.days_before_expiry) for a in actions], [(CertificatePolicyAction.auto_renew, 20)])

    def update(self):
        version = self.first.properties.version
        self.client.update_certificate_properties(self.name, version, tags={"team": "ops"})
        same("the tags", self.want_version(version, self.first).properties.tags, {"team": "ops"})

    def versions(self):
        self.second = self.make(self.name)
        assert self.second.id != self.first.id and self.second.cer != self.first.cer, "the same again"
        want = {self.first.properties.version, self.second.properties.version}
        got = {p.version for p in self.client.list_properties_of_certificate_versions(self.name)}
        same("the versions", got, want)
        self.want_version(None, self.second)

    def list(self):
        got = {p.name for p in self.client.list_properties_of_certificates()}
        assert {self.name, self.prefix + "-pem", self.prefix + "-signed"} <= got, f"listed are {got}"

    def disabled(self):
        name = self.prefix + "-disabled"
        self.make(name, enabled=False)
        same("enabled", self.client.get_certificate(name).properties.enabled, False)
        refused(403, "Forbidden", lambda: self.secrets.get_secret(name))

    def contacts(self):
        want = CertificateContact(email="pki@example.org", name="PKI", phone="1")
        self.client.set_contacts([want])
        same("the contacts", [(c.email, c.name, c.phone) for c in self.client.get_contacts()], [("pki@example.org", "PKI", "1")])
        self.client.delete_contacts()
        same("the contacts", self.client.get_contacts() or [], [])

    def missing(self):
        refused(404, "CertificateNotFound", lambda: self.client.get_certificate(self.prefix + "-missing"))

    def bad_name(self):
        refused(400, "BadParameter", lambda: self.client.begin_create_certificate(self.prefix + "_bad", self.policy()))

    def backup(self):
        self.blob = self.client.backup_certificate(self.name)
        assert self.blob, "no backup"
        refused(409, "Conflict", lambda: self.client.restore_certificate_backup(self.blob))

    def delete(self):
        poller = self.client.begin_delete_certificate(self.name)
        deleted = poller.result()
        poller.wait()
        assert deleted.recovery_id and deleted.deleted_on < deleted.scheduled_purge_date
        refused(404, "CertificateNotFound", lambda: self.client.get_certificate(self.name))
        refused(404, "SecretNotFound", lambda: self.secrets.get_secret(self.name))

    def deleted_get(self):
        got = self.client.get_deleted_certificate(self.name)
        same("the name", got.name, self.name)
        assert got.recovery_id and got.deleted_on and got.scheduled_purge_date

    def deleted_list(self):
        assert self.name in {d.name for d in self.client.list_deleted_certificates()}, "not listed"

    def recover(self):
        poller = self.client.begin_recover_deleted_certificate(self.name)
        same("the name", poller.result().name, self.name)
        poller.wait()
        self.want_version(None, self.second)

    def purge(self):
        self.client.begin_delete_certificate(self.name).wait()
        self.client.purge_deleted_certificate(self.name)
        refused(404, "CertificateNotFound", lambda: self.client.get_deleted_certificate(self.name))

    def restore(self):
        same("the name", self.client.restore_certificate_backup(self.blob).name, self.name)
        self.want_version(self.first.properties.version, self.first)
        self.want_version(None, self.second)
        self.served(self.name, bytes(self.second.cer))
