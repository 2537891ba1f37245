package httpapi

import (
	"bytes"
	_ "embed"
	"net/http"
)

//go:embed openapi.json
var openapiText []byte

// describe puts the version into the description.
func describe(version string) []byte {
	return bytes.Replace(openapiText, []byte(`"version": "0.0.0"`), []byte(`"version": "`+version+`"`), 1)
}

// getOpenAPI answers with the OpenAPI description of this API.
func (c *call) getOpenAPI() error {
	c.w.Header().Set("Cache-Control", "no-cache")
	return c.send(http.StatusOK, c.openapi)
}
