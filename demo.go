package main

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"net/http"
	"strings"
)

// demoFiles is the built demo (npm run build in web/); web/tools/fresh.mjs fails when it is not what its source builds.
//
//go:embed web/demo/dist
var demoFiles embed.FS

// demoHandler serves the demo below /demo/. Browsers ask again each time, and get the file only when it changed.
func demoHandler() http.Handler {
	root, err := fs.Sub(demoFiles, "web/demo/dist")
	if err != nil {
		panic(err) // the path above is wrong
	}
	tags := etags(root)
	files := http.StripPrefix("/demo/", http.FileServerFS(root))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'")
		name := strings.TrimPrefix(r.URL.Path, "/demo/")
		if name == "" {
			name = "index.html"
		}
		if tag := tags[name]; tag != "" {
			h.Set("ETag", tag)
		}
		files.ServeHTTP(w, r)
	})
}

// etags gives every file of the demo a tag of its content: embedded files have no time of change.
func etags(root fs.FS) map[string]string {
	tags := map[string]string{}
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(root, path)
		sum := sha256.Sum256(b)
		tags[path] = `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
		return err
	})
	if err != nil {
		panic(err) // embedded files can be read
	}
	return tags
}
