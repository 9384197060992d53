package vaulthttp_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker/keyvault/internal/recordings"
)

// What is otherwise with certificates.
const (
	noIssuers  = "the local vault asks no certificate authority, and none can be set up"
	madeAtOnce = "a recorded certificate takes its time to be made; the local vault's is made at once"
	deletedRaw = "the recorded certificate was deleted while it was being made, and has nothing to show; the local vault's was made at once"
)

// differentCertificates lists the steps on certificates whose replies differ at the
// recorded pace, by scenario and number; differentCertificatesAtOnce those that
// differ as the local vault does all at once.
var (
	differentCertificates = map[string]string{
		"TestIssuerCRUD, step 2":              noIssuers,
		"TestIssuerCRUD, step 3":              noIssuers,
		"TestIssuerCRUD, step 4":              noIssuers,
		"TestIssuerCRUD, step 5":              noIssuers,
		"TestIssuerCRUD, step 6":              noIssuers,
		"TestUpdateCertificatePolicy, step 5": deletedRaw,
	}
	differentCertificatesAtOnce = map[string]string{
		"TestBackupRestore, step 3":           madeAtOnce,
		"TestBackupRestore, step 7":           settles,
		"TestBackupRestore, step 10":          settles,
		"TestBackupRestore, step 11":          settles,
		"TestCRUD, step 3":                    madeAtOnce,
		"TestCRUD, step 8":                    settles,
		"TestDeleteRecover, step 3":           madeAtOnce,
		"TestDeleteRecover, step 6":           settles,
		"TestDeleteRecover, step 9":           settles,
		"TestIssuerCRUD, step 2":              noIssuers,
		"TestIssuerCRUD, step 3":              noIssuers,
		"TestIssuerCRUD, step 4":              noIssuers,
		"TestIssuerCRUD, step 5":              noIssuers,
		"TestIssuerCRUD, step 6":              noIssuers,
		"TestListCertificateVersions, step 3": madeAtOnce,
		"TestListCertificateVersions, step 6": madeAtOnce,
		"TestListCertificateVersions, step 9": madeAtOnce,
		"TestListCertificates, step 8":        madeAtOnce,
		"TestListCertificates, step 20":       ended,
		"TestListCertificates, step 21":       ended,
		"TestListCertificates, step 22":       ended,
		"TestListCertificates, step 23":       settles,
		"TestListCertificates, step 39":       ended,
		"TestUpdateCertificatePolicy, step 5": deletedRaw,
	}
)

// The recorded requests about certificates get the recorded status, error code,
// headers and fields, but for those listed; nine in ten do.
func TestReplayCertificates(t *testing.T) {
	set, err := recordings.OthersOfCertificates()
	if errors.Is(err, recordings.ErrNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Run("at once", func(t *testing.T) { replayCertificates(t, set, false, 0, differentCertificatesAtOnce) })
	t.Run("at the recorded pace", func(t *testing.T) { replayCertificates(t, set, true, 90, differentCertificates) })
}

// replayCertificates sends all of set, and wants the listed steps and no others to
// differ, and at least the given percentage to be the same.
func replayCertificates(t *testing.T, set recordings.Set, pace bool, least float64, listed map[string]string) {
	t.Helper()
	requests, same := 0, 0
	stale := maps.Clone(listed)
	for _, s := range set.Scenarios {
		v := newReplayVault(t, pace)
		v.seedCertificates(t, s)
		for i, step := range s.Steps {
			label := fmt.Sprintf("%s, step %d", s.Name, i+1)
			delete(stale, label)
			v.follow(s.Steps, i)
			for range step.Times() {
				requests++
				err := v.repeat(t, step)
				if err == nil {
					same++
				}
				switch why, ok := listed[label]; {
				case err != nil && !ok:
					t.Errorf("%s, %s %s: %v", label, step.Request.Method, step.Request.URL, err)
				case err == nil && ok:
					t.Errorf("%s is as recorded now, and is listed still: %s", label, why)
				}
			}
		}
	}
	for label := range stale {
		t.Errorf("%s is listed, and was not recorded", label)
	}
	share := 100 * float64(same) / float64(requests)
	t.Logf("%d of %d recorded requests (%.1f %%) get the recorded status, fields and code", same, requests, share)
	if share < least {
		t.Errorf("want %.0f %% at least", least)
	}
}

// signedRequest returns the body of a merge of what somebody signed for a request.
func signedRequest(csr string) ([]byte, error) {
	der, err := base64.StdEncoding.DecodeString(csr)
	if err != nil {
		return nil, err
	}
	signed, _, err := signRequest(der)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"x5c": [][]byte{signed}}) // JSON has bytes in base64
}

// signRequest is an authority of its own, which signs a request for a server. It
// returns the certificate and the authority's.
func signRequest(csr []byte) (leaf, authority []byte, err error) {
	asked, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, nil, err
	}
	if err := asked.CheckSignature(); err != nil {
		return nil, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "outside"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if authority, err = x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key); err != nil {
		return nil, nil, err
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), RawSubject: asked.RawSubject, DNSNames: asked.DNSNames, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leaf, err = x509.CreateCertificate(rand.Reader, server, ca, asked.PublicKey, key)
	return leaf, authority, err
}

// seedCertificates makes what the scenario's lists have and the scenario does not
// make.
func (v *replayVault) seedCertificates(t *testing.T, s recordings.Scenario) {
	t.Helper()
	type item struct{ deleted, disabled bool }
	made, listed := make(map[string]bool), make(map[string]item)
	for _, step := range s.Steps {
		u, err := url.Parse(step.Request.URL)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(u.Path, "/")
		if strings.HasSuffix(u.Path, "/create") || strings.HasSuffix(u.Path, "/import") {
			made[parts[2]] = true
		}
		want, err := recordedReply(step.Response)
		if err != nil {
			t.Fatal(err)
		}
		items, _ := want.body["value"].([]any)
		for _, one := range items {
			if id, err := url.Parse(text(one, "id")); err == nil && !strings.Contains(id.Path, "/issuers/") {
				listed[strings.Split(id.Path, "/")[2]] = item{
					deleted: parts[1] == "deletedcertificates", disabled: at(one, "attributes", "enabled") == false,
				}
			}
		}
	}
	send := func(method, path string, body json.RawMessage, status int) {
		got, err := v.send(t.Context(), recordings.Request{
			Method: method, URL: "https://pay.vault.azure.net" + path + "?api-version=7.4", Authorized: true, Body: body,
		})
		if err != nil || got.status != status {
			t.Fatalf("%s %s: %d, %v", method, path, got.status, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if made[name] {
			continue
		}
		body := fmt.Sprintf(`{"policy":{"issuer":{"name":"Self"},"x509_props":{"subject":"CN=a"}},"attributes":{"enabled":%v}}`, !listed[name].disabled)
		send(http.MethodPost, "/certificates/"+name+"/create", json.RawMessage(body), http.StatusAccepted)
		if listed[name].deleted {
			send(http.MethodDelete, "/certificates/"+name, nil, http.StatusOK)
		}
	}
}
