package wsapi

import (
	"encoding/base64"
	"net/http"
	"strings"

	"tidemark/internal/wire"
	"tidemark/store"
)

// handshake is what a valid upgrade request asks for.
type handshake struct {
	key      string
	token    string // from Authorization; "": none
	protocol bool   // the client named the subprotocol, so the answer does, too
	deflate  bool   // the client can do permessage-deflate as we do
}

// refusal is an answer to an upgrade request that is not granted.
type refusal struct {
	status int
	code   store.Code
	text   string
	header [2]string // one more header of the answer; "": none
}

func refuse(status int, code store.Code, text string) *refusal {
	return &refusal{status: status, code: code, text: text}
}

func malformed(text string) *refusal {
	return refuse(http.StatusBadRequest, store.CodeBadMessage, text)
}

// write answers with the error.
func (f *refusal) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Connection", "close")
	if f.header[0] != "" {
		h.Set(f.header[0], f.header[1])
	}
	w.WriteHeader(f.status)
	_, _ = w.Write(wire.AppendErrorBody(nil, &wire.Error{Code: f.code, Message: f.text}))
}

// check judges an upgrade request (RFC 6455, section 4.2.1, and who may connect) before anything is made for it.
func (s *Server) check(r *http.Request) (handshake, *refusal) {
	if f := checkRequest(r); f != nil {
		return handshake{}, f
	}
	if !s.origins.KnowsHost(r) {
		return handshake{}, refuse(http.StatusMisdirectedRequest, store.CodeForbidden, "this server does not go by that name")
	}
	if !s.origins.Allows(r) {
		return handshake{}, refuse(http.StatusForbidden, store.CodeForbidden, "pages of this origin may not connect")
	}
	hs := handshake{}
	for _, step := range []func(*http.Request) *refusal{hs.readKey, hs.readProtocol, hs.readToken} {
		if f := step(r); f != nil {
			return handshake{}, f
		}
	}
	hs.deflate = s.opts.Compression && offersDeflate(r.Header["Sec-Websocket-Extensions"])
	return hs, nil
}

// checkRequest looks at the request line and what makes it an upgrade.
func checkRequest(r *http.Request) *refusal {
	upgrade := func(text, name, value string) *refusal {
		f := refuse(http.StatusUpgradeRequired, store.CodeBadMessage, text)
		f.header = [2]string{name, value}
		return f
	}
	switch {
	case r.Method != http.MethodGet:
		f := refuse(http.StatusMethodNotAllowed, store.CodeBadMessage, "the WebSocket is opened with GET")
		f.header = [2]string{"Allow", http.MethodGet}
		return f
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return malformed("the WebSocket is opened with HTTP/1.1")
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return malformed("an upgrade request has no body")
	case !hasToken(r.Header["Upgrade"], "websocket") || !hasToken(r.Header["Connection"], "upgrade"):
		return upgrade("this is a WebSocket: Upgrade: websocket and Connection: Upgrade are needed", "Upgrade", "websocket")
	}
	if v := r.Header["Sec-Websocket-Version"]; len(v) != 1 || v[0] != "13" {
		return upgrade("only version 13 of the WebSocket protocol is known", "Sec-WebSocket-Version", "13")
	}
	return nil
}

// hasToken reports whether a comma-separated header has a token, regardless of case.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.Trim(t, " \t"), token) {
				return true
			}
		}
	}
	return false
}

func (hs *handshake) readKey(r *http.Request) *refusal {
	keys := r.Header["Sec-Websocket-Key"]
	if len(keys) != 1 {
		return malformed("one Sec-WebSocket-Key is needed")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(keys[0])
	if err != nil || len(raw) != 16 || strings.ContainsAny(keys[0], "\r\n") {
		return malformed("the Sec-WebSocket-Key is not 16 bytes in base64")
	}
	hs.key = keys[0]
	return nil
}

// readProtocol accepts clients that name no subprotocol as v1.
func (hs *handshake) readProtocol(r *http.Request) *refusal {
	offers := r.Header["Sec-Websocket-Protocol"]
	if len(offers) == 0 {
		return nil
	}
	for _, v := range offers {
		for t := range strings.SplitSeq(v, ",") {
			if strings.Trim(t, " \t") == wire.Subprotocol {
				hs.protocol = true
				return nil
			}
		}
	}
	return refuse(http.StatusBadRequest, store.CodeUnsupported, "the subprotocol of this server is "+wire.Subprotocol)
}

// secrets are names of parameters that show that somebody put a token into the URL, where logs and histories keep it.
var secrets = []string{"token", "access_token", "auth", "authorization", "bearer", "jwt", "api_key", "apikey"}

func (hs *handshake) readToken(r *http.Request) *refusal {
	if r.URL.RawQuery != "" {
		q := r.URL.Query()
		for name := range q {
			for _, secret := range secrets {
				if strings.EqualFold(name, secret) {
					return malformed("a token belongs into the Authorization header or the hello, never into the URL")
				}
			}
		}
	}
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return nil
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.Trim(token, " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsAny(token, " \t,") {
		f := refuse(http.StatusUnauthorized, store.CodeUnauthorized, "the Authorization header must be: Bearer and a token")
		f.header = [2]string{"WWW-Authenticate", "Bearer"}
		return f
	}
	hs.token = token
	return nil
}

// What gws reads in every request; it changes nothing of it.
var (
	connectionHeader = []string{"Upgrade"}
	upgradeHeader    = []string{"websocket"}
	versionHeader    = []string{"13"}
	protocolHeader   = []string{wire.Subprotocol}
	extensionsHeader = []string{"permessage-deflate; server_no_context_takeover; client_no_context_takeover"}
)

// request returns the request that gws is given: nothing of what the client sent but what was checked.
func (hs *handshake) request() *http.Request {
	h := http.Header{
		"Connection":            connectionHeader,
		"Upgrade":               upgradeHeader,
		"Sec-Websocket-Version": versionHeader,
		"Sec-Websocket-Key":     {hs.key},
	}
	if hs.protocol {
		h["Sec-Websocket-Protocol"] = protocolHeader
	}
	if hs.deflate {
		h["Sec-Websocket-Extensions"] = extensionsHeader
	}
	return &http.Request{Method: http.MethodGet, Header: h}
}
