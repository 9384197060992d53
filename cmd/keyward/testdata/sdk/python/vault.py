"""How a program of ../README.md reaches the vault, and what it checks of replies."""

import os
import socket
from datetime import datetime, timezone
from typing import NamedTuple

from azure.core.credentials import TokenCredential
from azure.core.exceptions import HttpResponseError
from azure.identity import ClientSecretCredential, DefaultAzureCredential

EXPIRES = datetime(2037, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


class Vault(NamedTuple):
    url: str
    credential: TokenCredential
    options: dict  # of every client


def connect(mode):
    unverified = {"verify_challenge_resource": False}
    if mode == "default":
        return Vault(os.environ["VAULT_URL"], DefaultAzureCredential(), unverified)
    credential = ClientSecretCredential(
        os.environ["AZURE_TENANT_ID"], os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"],
        authority=os.environ["AZURE_AUTHORITY_HOST"], disable_instance_discovery=True)
    if mode in ("verified", "hsm"):
        resolve_localhost()
        return Vault(os.environ["VERIFIED_VAULT_URL"], credential, {})
    return Vault(os.environ["VAULT_URL"], credential, unverified)


def resolve_localhost():
    """Looks *.localhost up as loopback, which not every system does."""
    ask = socket.getaddrinfo

    def getaddrinfo(host, *args, **kwargs):
        return ask("127.0.0.1" if str(host).endswith(".localhost") else host, *args, **kwargs)

    socket.getaddrinfo = getaddrinfo


def same(what, got, want):
    if got != want:
        raise AssertionError(f"{what} is {got!r}, want {want!r}")


def refused(status, code, call):
    try:
        call()
    except HttpResponseError as e:
        same("the refusal", (e.status_code, e.error.code if e.error else None), (status, code))
        return
    raise AssertionError(f"no refusal, want {status} {code}")
