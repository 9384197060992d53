import com.azure.core.credential.TokenCredential;
import com.azure.core.exception.HttpResponseException;
import com.azure.core.http.netty.NettyAsyncHttpClientBuilder;
import com.azure.core.util.polling.LongRunningOperationStatus;
import com.azure.identity.ClientSecretCredentialBuilder;
import com.azure.identity.DefaultAzureCredentialBuilder;
import com.azure.security.keyvault.secrets.SecretClient;
import com.azure.security.keyvault.secrets.SecretClientBuilder;
import com.azure.security.keyvault.secrets.models.DeletedSecret;
import com.azure.security.keyvault.secrets.models.KeyVaultSecret;
import com.azure.security.keyvault.secrets.models.SecretProperties;
import io.netty.resolver.DefaultAddressResolverGroup;
import java.time.Duration;
import java.time.OffsetDateTime;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import reactor.netty.http.client.HttpClient;

/** The scenario of ../README.md, by Azure's own client for Java. */
public final class Scenario {
    private static final OffsetDateTime EXPIRES = OffsetDateTime.parse("2037-01-02T03:04:05Z");
    private static final String VALUE = "pässwörd ✓ \"quoted\" <&>\n";
    private static final Duration QUICK = Duration.ofMillis(100);

    private final SecretClient client;
    private final String prefix;
    private final String name;
    private String first;
    private String second;
    private byte[] blob;

    private Scenario(SecretClient client, String prefix) {
        this.client = client;
        this.prefix = prefix;
        this.name = prefix + "-db";
    }

    private static SecretClient connect(String mode) {
        Map<String, String> env = System.getenv();
        if (mode.equals("default")) {
            return unverified(env.get("VAULT_URL"), new DefaultAzureCredentialBuilder().build());
        }
        TokenCredential credential = new ClientSecretCredentialBuilder()
            .tenantId(env.get("AZURE_TENANT_ID"))
            .clientId(env.get("AZURE_CLIENT_ID"))
            .clientSecret(env.get("AZURE_CLIENT_SECRET"))
            .authorityHost(env.get("AZURE_AUTHORITY_HOST"))
            .disableInstanceDiscovery()
            .build();
        if (!mode.equals("verified")) {
            return unverified(env.get("VAULT_URL"), credential);
        }
        // The JDK's resolver heeds the file that -Djdk.net.hosts.file names.
        HttpClient http = HttpClient.create().resolver(DefaultAddressResolverGroup.INSTANCE);
        return new SecretClientBuilder()
            .vaultUrl(env.get("VERIFIED_VAULT_URL"))
            .httpClient(new NettyAsyncHttpClientBuilder(http).build())
            .credential(credential)
            .buildClient();
    }

    private static SecretClient unverified(String url, TokenCredential credential) {
        return new SecretClientBuilder().vaultUrl(url).credential(credential).disableChallengeResourceVerification().buildClient();
    }

    private interface Step {
        void run();
    }

    private Map<String, Step> steps() {
        Map<String, Step> steps = new LinkedHashMap<>();
        steps.put("set", this::set);
        steps.put("get", this::get);
        steps.put("get-version", this::getVersion);
        steps.put("update", this::update);
        steps.put("versions", this::versions);
        steps.put("list", this::list);
        steps.put("disabled", this::disabled);
        steps.put("missing", () -> refused(404, "SecretNotFound", () -> client.getSecret(prefix + "-missing")));
        steps.put("oversize", () -> refused(400, "BadParameter", () -> client.setSecret(prefix + "-big", "x".repeat(25_601))));
        steps.put("bad-name", () -> refused(400, "BadParameter", () -> client.setSecret(prefix + "_bad", "v")));
        steps.put("backup", this::backup);
        steps.put("delete", this::delete);
        steps.put("deleted-get", this::deletedGet);
        steps.put("deleted-list", this::deletedList);
        steps.put("recover", this::recover);
        steps.put("purge", this::purge);
        steps.put("restore", this::restore);
        return steps;
    }

    private void set() {
        KeyVaultSecret one = client.setSecret(new KeyVaultSecret(name, VALUE)
            .setProperties(new SecretProperties().setContentType("text/plain").setTags(Map.of("team", "pay"))));
        same("the first value", one.getValue(), VALUE);
        first = one.getProperties().getVersion();
        second = client.setSecret(name, "two").getProperties().getVersion();
        check(!first.equals(second), "one version for two values");
    }

    private void get() {
        KeyVaultSecret got = client.getSecret(name);
        same("the value", got.getValue(), "two");
        same("the version", got.getProperties().getVersion(), second);
        same("enabled", got.getProperties().isEnabled(), true);
        same("the recoverable days", got.getProperties().getRecoverableDays(), 90);
    }

    private void getVersion() {
        KeyVaultSecret got = client.getSecret(name, first);
        same("the value", got.getValue(), VALUE);
        same("the content type", got.getProperties().getContentType(), "text/plain");
        same("the tags", got.getProperties().getTags(), Map.of("team", "pay"));
    }

    private void update() {
        client.updateSecretProperties(client.getSecret(name, first).getProperties()
            .setContentType("text/html").setTags(Map.of("team", "ops")).setExpiresOn(EXPIRES));
        KeyVaultSecret got = client.getSecret(name, first);
        same("the value", got.getValue(), VALUE);
        same("the content type", got.getProperties().getContentType(), "text/html");
        same("the tags", got.getProperties().getTags(), Map.of("team", "ops"));
        same("the expiry", got.getProperties().getExpiresOn().toInstant(), EXPIRES.toInstant());
    }

    private void versions() {
        Set<String> got = new HashSet<>();
        client.listPropertiesOfSecretVersions(name).forEach(p -> got.add(p.getVersion()));
        same("the versions", got, Set.of(first, second));
    }

    private void list() {
        Set<String> want = new HashSet<>();
        for (int i = 0; i < 30; i++) {
            want.add(prefix + "-many-" + i);
        }
        want.forEach(one -> client.setSecret(one, "v"));
        AtomicInteger pages = new AtomicInteger();
        client.listPropertiesOfSecrets().iterableByPage().forEach(page -> {
            pages.incrementAndGet();
            page.getElements().forEach(p -> want.remove(p.getName()));
        });
        check(pages.get() >= 2, "one page for 31 secrets");
        same("what is not listed", want, Set.of());
    }

    private void disabled() {
        KeyVaultSecret set = client.setSecret(new KeyVaultSecret(prefix + "-disabled", "v")
            .setProperties(new SecretProperties().setEnabled(false)));
        same("enabled", set.getProperties().isEnabled(), false);
        refused(403, "Forbidden", () -> client.getSecret(prefix + "-disabled"));
    }

    private void backup() {
        blob = client.backupSecret(name);
        check(blob.length > 0, "no backup");
        refused(409, "Conflict", () -> client.restoreSecretBackup(blob));
    }

    private void delete() {
        var poller = client.beginDeleteSecret(name).setPollInterval(QUICK);
        same("the end", poller.waitForCompletion().getStatus(), LongRunningOperationStatus.SUCCESSFULLY_COMPLETED);
        refused(404, "SecretNotFound", () -> client.getSecret(name));
        refused(409, "Conflict", () -> client.setSecret(name, "three"));
    }

    private void deletedGet() {
        DeletedSecret got = client.getDeletedSecret(name);
        same("the name", got.getName(), name);
        check(got.getRecoveryId() != null && got.getDeletedOn().isBefore(got.getScheduledPurgeDate()), "not shown as deleted");
    }

    private void deletedList() {
        check(client.listDeletedSecrets().stream().anyMatch(d -> d.getName().equals(name)), "not listed");
    }

    private void recover() {
        var poller = client.beginRecoverDeletedSecret(name).setPollInterval(QUICK);
        same("the end", poller.waitForCompletion().getStatus(), LongRunningOperationStatus.SUCCESSFULLY_COMPLETED);
        same("the value", client.getSecret(name).getValue(), "two");
    }

    private void purge() {
        client.beginDeleteSecret(name).setPollInterval(QUICK).waitForCompletion();
        client.purgeDeletedSecret(name);
        refused(404, "SecretNotFound", () -> client.getDeletedSecret(name));
    }

    private void restore() {
        same("the name", client.restoreSecretBackup(blob).getName(), name);
        same("the first value", client.getSecret(name, first).getValue(), VALUE);
        same("the second value", client.getSecret(name).getValue(), "two");
    }

    private static void same(String what, Object got, Object want) {
        check(want.equals(got), what + " is " + got + ", want " + want);
    }

    private static void check(boolean holds, String otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }

    private static void refused(int status, String code, Step call) {
        try {
            call.run();
        } catch (HttpResponseException e) {
            same("the status", e.getResponse().getStatusCode(), status);
            check(e.getMessage().contains(code), "no " + code + " in: " + e.getMessage());
            return;
        }
        throw new AssertionError("no refusal, want " + status + " " + code);
    }

    public static void main(String[] args) {
        String mode = args[1]; // the first is the noun, and there are secrets only
        Map<String, Step> steps = new Scenario(connect(mode), "java-" + mode).steps();
        for (String step : System.getenv("STEPS").split(" ")) {
            try {
                steps.get(step).run();
            } catch (RuntimeException | AssertionError e) {
                System.err.println("FAIL " + step + ": " + e);
                for (Throwable cause = e.getCause(); cause != null; cause = cause.getCause()) {
                    System.err.println("  because of " + cause);
                }
                System.exit(1);
            }
            System.out.println("ok " + step);
        }
        System.exit(0); // the client's threads would wait for more
    }
}
