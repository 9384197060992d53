package broker

import (
	"fmt"
	"maps"
	"slices"
)

// decidedOn says what each action of policies is decided on: an object of a
// collection, or a vault itself where that is "". It is the schema's appliesTo
// in terms of names.
var decidedOn = map[Action]Kind{
	ActionGetSecret:                  KindSecrets,
	ActionSetSecret:                  KindSecrets,
	ActionUpdateSecret:               KindSecrets,
	ActionGenerateSecret:             KindSecrets,
	ActionDeleteSecret:               KindSecrets,
	ActionListSecrets:                KindSecrets,
	ActionListSecretVersions:         KindSecrets,
	ActionGetDeletedSecret:           KindSecrets,
	ActionListDeletedSecrets:         KindSecrets,
	ActionUndeleteSecret:             KindSecrets,
	ActionPurgeSecret:                KindSecrets,
	ActionBackupSecret:               KindSecrets,
	ActionWatchSecret:                KindSecrets,
	ActionRestoreSecret:              "",
	ActionCreateKey:                  KindKeys,
	ActionImportKey:                  KindKeys,
	ActionGetKey:                     KindKeys,
	ActionListKeys:                   KindKeys,
	ActionListKeyVersions:            KindKeys,
	ActionUpdateKey:                  KindKeys,
	ActionDeleteKey:                  KindKeys,
	ActionGetDeletedKey:              KindKeys,
	ActionListDeletedKeys:            KindKeys,
	ActionUndeleteKey:                KindKeys,
	ActionPurgeKey:                   KindKeys,
	ActionBackupKey:                  KindKeys,
	ActionRestoreKey:                 "",
	ActionRotateKey:                  KindKeys,
	ActionGetRotationPolicy:          KindKeys,
	ActionUpdateRotationPolicy:       KindKeys,
	ActionEncryptKey:                 KindKeys,
	ActionDecryptKey:                 KindKeys,
	ActionWrapKey:                    KindKeys,
	ActionUnwrapKey:                  KindKeys,
	ActionSignKey:                    KindKeys,
	ActionVerifyKey:                  KindKeys,
	ActionCreateCertificate:          KindCertificates,
	ActionImportCertificate:          KindCertificates,
	ActionMergeCertificate:           KindCertificates,
	ActionGetCertificate:             KindCertificates,
	ActionListCertificates:           KindCertificates,
	ActionListCertificateVersions:    KindCertificates,
	ActionUpdateCertificate:          KindCertificates,
	ActionDeleteCertificate:          KindCertificates,
	ActionGetDeletedCertificate:      KindCertificates,
	ActionListDeletedCertificates:    KindCertificates,
	ActionUndeleteCertificate:        KindCertificates,
	ActionPurgeCertificate:           KindCertificates,
	ActionBackupCertificate:          KindCertificates,
	ActionRestoreCertificate:         "",
	ActionGetCertificatePolicy:       KindCertificates,
	ActionUpdateCertificatePolicy:    KindCertificates,
	ActionGetCertificateOperation:    KindCertificates,
	ActionCancelCertificateOperation: KindCertificates,
	ActionDeleteCertificateOperation: KindCertificates,
	ActionDownloadCertificate:        KindCertificates,
	ActionGetCertificateContacts:     "",
	ActionUpdateCertificateContacts:  "",
	ActionDeleteCertificateContacts:  "",
	ActionListCertificateIssuers:     "",
	ActionGetCertificateIssuer:       "",
	ActionExplainAccess:              "",
}

// Actions returns the actions of policies, sorted.
func Actions() []Action { return slices.Sorted(maps.Keys(decidedOn)) }

// ParseAction returns the action of that name. The error for none is
// CodeBadField, and names the nearest.
func ParseAction(s string) (Action, error) {
	if _, ok := decidedOn[Action(s)]; ok {
		return Action(s), nil
	}
	message := "name an action, such as getSecret"
	if s != "" {
		message = fmt.Sprintf("there is no action %.64q", s)
		if n := Nearest(s, Actions()); n != "" {
			message += fmt.Sprintf("; did you mean %s?", n)
		}
	}
	return "", &Error{Code: CodeBadField, Field: "action", Message: message}
}

// DecidedOn returns the collection of the objects that the action is decided on,
// or "" if that is a vault.
func (a Action) DecidedOn() Kind { return decidedOn[a] }

// ParseResource parses the name of what the action is decided on. A version is
// left out: decisions are the same for all of them. The error for another name
// is CodeBadName of the field "resource".
func (a Action) ParseResource(s string) (Name, error) {
	kind := a.DecidedOn()
	if kind == "" {
		n, err := ParseVaultName(s)
		if err != nil {
			return Name{}, &Error{Code: CodeBadName, Field: "resource", Message: string(a) + ` is decided on a vault: "vaults/{vault}"`}
		}
		return n, nil
	}
	n, err := ParseName(kind, s)
	if err != nil {
		return Name{}, &Error{
			Code: CodeBadName, Field: "resource",
			Message: fmt.Sprintf(`%s is decided on "vaults/{vault}/%s/{name}"`, a, kind),
		}
	}
	return n.Base(), nil
}
