package localvault

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The api-versions of the endpoints: App Service's, and virtual machines'.
const (
	identityVersion = "2019-08-01"
	imdsVersion     = "2018-02-01"
)

// serveIdentity is App Service's managed identity endpoint, for clients that
// find it by IDENTITY_ENDPOINT and IDENTITY_HEADER. Its numbers are text.
func (s *STS) serveIdentity(w http.ResponseWriter, r *http.Request) {
	if s.config.IdentityHeader.Len() == 0 {
		refuseIdentity(w, http.StatusNotFound, "This vault offers no managed identity.")
		return
	}
	query := r.URL.Query()
	switch {
	case !sameSecret(r.Header.Get("X-IDENTITY-HEADER"), s.config.IdentityHeader):
		refuseIdentity(w, http.StatusUnauthorized, "The X-IDENTITY-HEADER header is missing or wrong. Take it from IDENTITY_HEADER.")
	case query.Get("api-version") != identityVersion:
		refuseIdentity(w, http.StatusBadRequest, "The api-version must be "+identityVersion+".")
	case !s.isAudience(query.Get("resource")):
		refuseIdentity(w, http.StatusBadRequest, "The resource must be "+s.config.Audience+".")
	case query.Has("object_id"), query.Has("principal_id"), query.Has("mi_res_id"),
		query.Has("client_id") && query.Get("client_id") != s.config.ClientID:
		refuseIdentity(w, http.StatusBadRequest, "No such user-assigned identity. Leave it out, or use the client id of this vault.")
	default:
		reply, ok := s.identityToken(r)
		if !ok {
			refuseIdentity(w, http.StatusInternalServerError, "The token could not be made.")
			return
		}
		writeJSON(w, http.StatusOK, reply)
	}
}

func refuseIdentity(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]any{"statusCode": status, "message": message})
}

// serveIMDS is the identity endpoint of virtual machines. Real ones answer at
// http://169.254.169.254.
func (s *STS) serveIMDS(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	switch {
	case !s.config.IMDS:
		refuseIMDS(w, http.StatusNotFound, "not_found", "This vault offers no identity of a virtual machine.")
	case !strings.EqualFold(r.Header.Get("Metadata"), "true"), r.Header.Get("X-Forwarded-For") != "":
		// What was forwarded was not asked for by this machine's own programs.
		refuseIMDS(w, http.StatusBadRequest, "invalid_request", "Required metadata header not specified")
	case query.Get("api-version") != imdsVersion:
		refuseIMDS(w, http.StatusBadRequest, "invalid_request", "The api-version must be "+imdsVersion+".")
	case query.Get("resource") == "":
		refuseIMDS(w, http.StatusBadRequest, "invalid_request", "Required query variable 'resource' is missing")
	case !s.isAudience(query.Get("resource")):
		refuseIMDS(w, http.StatusBadRequest, "invalid_resource", "The resource must be "+s.config.Audience+".")
	case query.Has("object_id"), query.Has("msi_res_id"), query.Has("mi_res_id"),
		query.Has("client_id") && query.Get("client_id") != s.config.ClientID:
		refuseIMDS(w, http.StatusBadRequest, "invalid_request", "Identity not found")
	default:
		reply, ok := s.identityToken(r)
		if !ok {
			refuseIMDS(w, http.StatusInternalServerError, "unknown", "Failed to retrieve token from the Active directory.")
			return
		}
		reply["ext_expires_in"] = reply["expires_in"]
		writeJSON(w, http.StatusOK, reply)
	}
}

func refuseIMDS(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, map[string]string{"error": code, "error_description": description})
}

// identityToken makes a token, and the reply that carries it: all text.
func (s *STS) identityToken(r *http.Request) (reply map[string]string, ok bool) {
	now := time.Now()
	token, expires, err := s.mint(now)
	if err != nil {
		s.log.ErrorContext(r.Context(), "a token could not be made", "error", err)
		return nil, false
	}
	s.log.DebugContext(r.Context(), "made a token for a managed identity", "expires", expires)
	return map[string]string{
		"access_token": token,
		"client_id":    s.config.ClientID,
		"expires_in":   strconv.Itoa(int(s.config.TokenLife / time.Second)),
		"expires_on":   strconv.FormatInt(expires.Unix(), 10),
		"not_before":   strconv.FormatInt(now.Add(-backdate).Unix(), 10),
		"resource":     s.config.Audience,
		"token_type":   "Bearer",
	}, true
}
