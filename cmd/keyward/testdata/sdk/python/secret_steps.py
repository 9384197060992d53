"""The steps of secrets in ../README.md, by Azure's own client for Python."""

from azure.keyvault.secrets import SecretClient

from vault import EXPIRES, refused, same

VALUE = "pässwörd ✓ \"quoted\" <&>\n"


class SecretSteps:
    def __init__(self, vault, mode):
        self.client = SecretClient(vault.url, vault.credential, **vault.options)
        self.prefix = "python-" + mode
        self.name = self.prefix + "-db"

    def set(self):
        self.first = self.client.set_secret(self.name, VALUE, content_type="text/plain", tags={"team": "pay"})
        self.second = self.client.set_secret(self.name, "two")
        same("the first value", self.first.value, VALUE)
        assert self.first.properties.version != self.second.properties.version, "one version for two values"

    def get(self):
        got = self.client.get_secret(self.name)
        same("the value", got.value, "two")
        same("the version", got.properties.version, self.second.properties.version)
        same("enabled", got.properties.enabled, True)
        same("the recoverable days", got.properties.recoverable_days, 90)

    def get_version(self):
        got = self.client.get_secret(self.name, self.first.properties.version)
        same("the value", got.value, VALUE)
        same("the content type", got.properties.content_type, "text/plain")
        same("the tags", got.properties.tags, {"team": "pay"})

    def update(self):
        self.client.update_secret_properties(
            self.name, self.first.properties.version, content_type="text/html", tags={"team": "ops"}, expires_on=EXPIRES)
        got = self.client.get_secret(self.name, self.first.properties.version)
        same("the value", got.value, VALUE)
        same("the content type", got.properties.content_type, "text/html")
        same("the tags", got.properties.tags, {"team": "ops"})
        same("the expiry", got.properties.expires_on, EXPIRES)

    def versions(self):
        got = {p.version for p in self.client.list_properties_of_secret_versions(self.name)}
        same("the versions", got, {self.first.properties.version, self.second.properties.version})

    def list(self):
        want = {f"{self.prefix}-many-{i:02}" for i in range(30)}
        for name in want:
            self.client.set_secret(name, "v")
        pages = [[p.name for p in page] for page in self.client.list_properties_of_secrets().by_page()]
        assert len(pages) >= 2, "one page for 31 secrets"
        missing = want - {name for page in pages for name in page}
        assert not missing, f"not listed: {missing}"

    def disabled(self):
        name = self.prefix + "-disabled"
        same("enabled", self.client.set_secret(name, "v", enabled=False).properties.enabled, False)
        refused(403, "Forbidden", lambda: self.client.get_secret(name))

    def missing(self):
        refused(404, "SecretNotFound", lambda: self.client.get_secret(self.prefix + "-missing"))

    def oversize(self):
        refused(400, "BadParameter", lambda: self.client.set_secret(self.prefix + "-big", "x" * 25601))

    def bad_name(self):
        refused(400, "BadParameter", lambda: self.client.set_secret(self.prefix + "_bad", "v"))

    def backup(self):
        self.blob = self.client.backup_secret(self.name)
        assert self.blob, "no backup"
        refused(409, "Conflict", lambda: self.client.restore_secret_backup(self.blob))

    def delete(self):
        poller = self.client.begin_delete_secret(self.name)
        deleted = poller.result()
        poller.wait()
        assert deleted.recovery_id and deleted.deleted_date < deleted.scheduled_purge_date
        refused(404, "SecretNotFound", lambda: self.client.get_secret(self.name))
        refused(409, "Conflict", lambda: self.client.set_secret(self.name, "three"))

    def deleted_get(self):
        got = self.client.get_deleted_secret(self.name)
        same("the name", got.name, self.name)
        assert got.recovery_id and got.deleted_date and got.scheduled_purge_date

    def deleted_list(self):
        assert self.name in {d.name for d in self.client.list_deleted_secrets()}, "not listed"

    def recover(self):
        poller = self.client.begin_recover_deleted_secret(self.name)
        same("the name", poller.result().name, self.name)
        poller.wait()
        same("the value", self.client.get_secret(self.name).value, "two")

    def purge(self):
        self.client.begin_delete_secret(self.name).wait()
        self.client.purge_deleted_secret(self.name)
        refused(404, "SecretNotFound", lambda: self.client.get_deleted_secret(self.name))

    def restore(self):
        same("the name", self.client.restore_secret_backup(self.blob).name, self.name)
        same("the first value", self.client.get_secret(self.name, self.first.properties.version).value, VALUE)
        same("the second value", self.client.get_secret(self.name).value, "two")
