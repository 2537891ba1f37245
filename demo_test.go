package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestDemoIsServed(t *testing.T) {
	h := demoHandler()
	get := func(path, tag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("If-None-Match", tag)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	page := get("/demo/", "")
	if page.Code != 200 || !strings.Contains(page.Body.String(), `src="app.js"`) {
		t.Fatalf("the page: %d %.200s", page.Code, page.Body)
	}
	script := get("/demo/app.js", "")
	if got := script.Header().Get("Content-Type"); script.Code != 200 || !strings.HasPrefix(got, "text/javascript") {
		t.Fatalf("the script: %d, %s", script.Code, got)
	}
	if again := get("/demo/app.js", script.Header().Get("ETag")); again.Code != http.StatusNotModified {
		t.Errorf("the same script again: %d, want 304", again.Code)
	}
	if none := get("/demo/none.js", ""); none.Code != 404 {
		t.Errorf("what is not there: %d, want 404", none.Code)
	}
}
