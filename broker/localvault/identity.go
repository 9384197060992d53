package localvault

import (
	"net/http"
	"strconv"
	"time"
)

// identityVersion is the api-version of App Service's endpoint.
const identityVersion = "2019-08-01"

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
		now := time.Now()
		token, expires, err := s.mint(now)
		if err != nil {
			s.log.ErrorContext(r.Context(), "a token could not be made", "error", err)
			refuseIdentity(w, http.StatusInternalServerError, "The token could not be made.")
			return
		}
		s.log.DebugContext(r.Context(), "made a token for a managed identity", "expires", expires)
		writeJSON(w, http.StatusOK, map[string]string{
			"access_token": token,
			"client_id":    s.config.ClientID,
			"expires_in":   strconv.Itoa(int(s.config.TokenLife / time.Second)),
			"expires_on":   strconv.FormatInt(expires.Unix(), 10),
			"not_before":   strconv.FormatInt(now.Add(-backdate).Unix(), 10),
			"resource":     s.config.Audience,
			"token_type":   "Bearer",
		})
	}
}

func refuseIdentity(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]any{"statusCode": status, "message": message})
}
