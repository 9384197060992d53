package vaulthttp

import (
	"net/http"

	"github.com/keyward/keyward/broker"
)

// The operations on certificates, by what they do.
var (
	opCreateCertificate   = operation{permission: "certificates/create/action", act: (*handler).createCertificate}
	opImportCertificate   = operation{permission: "certificates/import/action", act: (*handler).importCertificate}
	opGetCertificate      = operation{permission: "certificates/read", act: (*handler).getCertificate}
	opUpdateCertificate   = operation{permission: "certificates/update/action", act: (*handler).updateCertificate}
	opDeleteCertificate   = operation{permission: "certificates/delete", act: (*handler).deleteCertificate}
	opListCertificates    = operation{permission: "certificates/read", act: (*handler).listCertificates, lists: true}
	opCertificateVersions = operation{permission: "certificates/read", act: (*handler).listCertificateVersions, lists: true}
	opGetPolicy           = operation{permission: "certificates/read", act: (*handler).getCertificatePolicy}
	opUpdatePolicy        = operation{permission: "certificates/update/action", act: (*handler).updateCertificatePolicy}
	opGetOperation        = operation{permission: "certificates/read", act: (*handler).getOperation}
	opCancelOperation     = operation{permission: "certificates/update/action", act: (*handler).cancelOperation}
	opDeleteOperation     = operation{permission: "certificates/update/action", act: (*handler).deleteOperation}
	opMerge               = operation{permission: "certificates/create/action", act: (*handler).mergeCertificate}
	opGetDeletedCert      = operation{permission: "certificates/read", act: (*handler).getDeletedCertificate}
	opDeletedCertificates = operation{permission: "certificates/read", act: (*handler).listDeletedCertificates, lists: true}
	opRecoverCertificate  = operation{permission: "certificates/recover/action", act: (*handler).recoverCertificate}
	opPurgeCertificate    = operation{permission: "certificates/purge/action", act: (*handler).purgeCertificate}
	opBackupCertificate   = operation{permission: "certificates/backup/action", act: (*handler).backupCertificate}
	opRestoreCertificate  = operation{permission: "certificates/restore/action", act: (*handler).restoreCertificate}
	opGetContacts         = operation{permission: "certificatecontacts/write", act: (*handler).getContacts}
	opSetContacts         = operation{permission: "certificatecontacts/write", act: (*handler).setContacts}
	opDeleteContacts      = operation{permission: "certificatecontacts/write", act: (*handler).deleteContacts}
	opListIssuers         = operation{permission: "certificatecas/read", act: (*handler).listIssuers, lists: true}
	opGetIssuer           = operation{permission: "certificatecas/read", act: (*handler).getIssuer}
	opChangeIssuer        = operation{permission: "certificatecas/write", act: (*handler).refuseIssuer}
	opDeleteIssuer        = operation{permission: "certificatecas/delete", act: (*handler).refuseIssuer}
)

// certificateOperations are what the last part of /certificates/{name}/… stands for.
var certificateOperations = map[string]actions{
	"create":   {http.MethodPost: opCreateCertificate},
	"import":   {http.MethodPost: opImportCertificate},
	"backup":   {http.MethodPost: opBackupCertificate},
	"versions": {http.MethodGet: opCertificateVersions},
	"policy":   {http.MethodGet: opGetPolicy, http.MethodPatch: opUpdatePolicy},
	"pending":  {http.MethodGet: opGetOperation, http.MethodPatch: opCancelOperation, http.MethodDelete: opDeleteOperation},
}

// matchCertificates finds the route of what follows /certificates:
//
//	/certificates/  restore contacts issuers issuers/{name}
//	/certificates/{name}/  create import policy pending pending/merge
//
// and what keys and secrets have.
func (h *handler) matchCertificates(r *http.Request, parts []string) (route, error) {
	switch {
	case len(parts) == 0:
		return pick(r, broker.Name{}, actions{http.MethodGet: opListCertificates})
	case len(parts) == 1 && parts[0] == "restore" && r.Method == http.MethodPost:
		// With other methods, it is a certificate of that name.
		return route{operation: opRestoreCertificate}, nil
	case len(parts) == 1 && parts[0] == "contacts":
		return pick(r, broker.Name{}, actions{
			http.MethodGet: opGetContacts, http.MethodPut: opSetContacts, http.MethodDelete: opDeleteContacts,
		})
	case parts[0] == "issuers":
		return h.matchIssuers(r, parts[1:])
	}
	name, err := h.object(broker.KindCertificates, parts[0])
	switch {
	case err != nil:
		return route{}, err
	case len(parts) == 1:
		return pick(r, name, actions{
			http.MethodGet:    opGetCertificate,
			http.MethodPatch:  opUpdateCertificate,
			http.MethodDelete: opDeleteCertificate,
		})
	case len(parts) == 3:
		if parts[1] == "pending" && parts[2] == "merge" {
			return pick(r, name, actions{http.MethodPost: opMerge})
		}
		return route{}, errNoSuchPath
	}
	if by, ok := certificateOperations[parts[1]]; ok {
		return pick(r, name, by)
	}
	if name, err = versioned(name, parts[1]); err != nil {
		return route{}, err
	}
	return pick(r, name, actions{http.MethodGet: opGetCertificate, http.MethodPatch: opUpdateCertificate})
}

func (h *handler) matchIssuers(r *http.Request, parts []string) (route, error) {
	switch len(parts) {
	case 0:
		return pick(r, broker.Name{}, actions{http.MethodGet: opListIssuers})
	case 1:
		name, err := h.object(broker.KindCertificateIssuers, parts[0])
		if err != nil {
			return route{}, err
		}
		return pick(r, name, actions{
			http.MethodGet: opGetIssuer, http.MethodPut: opChangeIssuer, http.MethodPatch: opChangeIssuer, http.MethodDelete: opDeleteIssuer,
		})
	}
	return route{}, errNoSuchPath
}

// matchDeletedCertificates finds the route of what follows /deletedcertificates.
func (h *handler) matchDeletedCertificates(r *http.Request, parts []string) (route, error) {
	return h.matchDeleted(r, broker.KindCertificates, parts, deletedOperations{
		list: opDeletedCertificates, get: opGetDeletedCert, purge: opPurgeCertificate, recover: opRecoverCertificate,
	})
}
