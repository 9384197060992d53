"""Uses of keys through CryptographyClient, and whether the vault was asked for them."""

from urllib.parse import urlsplit

from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import HTTPPolicy
from azure.keyvault.keys.crypto import CryptographyClient, EncryptionAlgorithm, KeyWrapAlgorithm, SignatureAlgorithm

from vault import same

# What each use is called at the vault, and how its algorithms are told.
OPERATIONS = {
    "encrypt": ("encrypt", EncryptionAlgorithm), "decrypt": ("decrypt", EncryptionAlgorithm),
    "wrap_key": ("wrapkey", KeyWrapAlgorithm), "unwrap_key": ("unwrapkey", KeyWrapAlgorithm),
    "sign": ("sign", SignatureAlgorithm), "verify": ("verify", SignatureAlgorithm),
}

# What this client computes itself once it has read the public key: the table in
# ../README.md.
LOCAL_OPERATIONS = ("encrypt", "wrap_key", "verify")
LOCAL_FAMILIES = ("RS", "PS", "ES")


class Watch(HTTPPolicy):
    """Knows what a client asks the vault for. Without reads, it is refused every
    key as if it lacked the permission, and has to ask the vault for every use."""

    def __init__(self, reads):
        super().__init__()
        self.reads, self.asked = reads, []

    def send(self, request):
        if request.http_request.method != "GET":
            self.asked.append(urlsplit(request.http_request.url).path.rsplit("/", 1)[1])
        elif not self.reads:
            refusal = HttpResponseError("the permission to read keys is missing")
            refusal.status_code = 403
            raise refusal
        return self.next.send(request)


class Use:
    """Uses of a key, given by its id or as it was got."""

    def __init__(self, vault, key, reads):
        self.watch = Watch(reads)
        self.client = CryptographyClient(key, vault.credential, per_call_policies=[self.watch], **vault.options)

    def call(self, operation, algorithm, *args, **kwargs):
        """Returns what comes of it, and checks who did it."""
        path, algorithms = OPERATIONS[operation]
        asked = len(self.watch.asked)
        got = getattr(self.client, operation)(algorithms(algorithm), *args, **kwargs)
        local = self.watch.reads and operation in LOCAL_OPERATIONS and algorithm.startswith(LOCAL_FAMILIES)
        same(f"what the vault was asked for at {operation}", self.watch.asked[asked:], [] if local else [path])
        return got


def uses(vault, key):
    """The ways to use a key: all at the vault; by its id; and by what was got."""
    return [Use(vault, key.id, reads=False), Use(vault, key.id, reads=True), Use(vault, key, reads=True)]
