package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// printClients tells how to point Key Vault's official clients at a vault on
// this machine. They check a vault's host name against its challenge, which for
// an address is turned off. Those of keys, which is all that a Managed HSM has,
// are made as those of secrets are.
func printClients(w io.Writer, authority, dir string, managedHSM bool) {
	names := strings.NewReplacer()
	if managedHSM {
		names = strings.NewReplacer("azsecrets", "azkeys", "SecretClient", "KeyClient", "local vault", "local Managed HSM")
	}
	fmt.Fprintf(w, names.Replace(`The local vault is at %s. Key Vault's clients find what they need in %s:

  set -a; . %[3]s; set +a

  Go          cred, err := azidentity.NewDefaultAzureCredential(nil)
              azsecrets.NewClient(os.Getenv("VAULT_URL"), cred, &azsecrets.ClientOptions{DisableChallengeResourceVerification: true})
  JavaScript  new SecretClient(process.env.VAULT_URL, new DefaultAzureCredential(), { disableChallengeResourceVerification: true })
  Python      SecretClient(os.environ["VAULT_URL"], DefaultAzureCredential(), verify_challenge_resource=False)
  Java        new SecretClientBuilder().vaultUrl(System.getenv("VAULT_URL")).credential(new DefaultAzureCredentialBuilder().build())
                .disableChallengeResourceVerification().buildClient()
  .NET        new SecretClient(new Uri(Environment.GetEnvironmentVariable("VAULT_URL")), new DefaultAzureCredential(),
                new SecretClientOptions { DisableChallengeResourceVerification = true })

Java trusts the vault once its CA is in a trust store:
  keytool -importcert -noprompt -file %[4]s -keystore trust.p12 -storetype PKCS12 -storepass changeit
  java -Djavax.net.ssl.trustStore=trust.p12 -Djavax.net.ssl.trustStorePassword=changeit ...
Go and .NET heed SSL_CERT_FILE on Linux; elsewhere, let the system trust that CA.

`), authority, filepath.Join(dir, "vault.env"), shellQuote(filepath.Join(dir, "vault.env")), shellQuote(filepath.Join(dir, "ca.pem")))
}
