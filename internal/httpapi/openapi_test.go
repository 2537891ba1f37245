package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// spec is what of the description the test needs.
type spec struct {
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]any }
}

type operation struct {
	Parameters  []parameter
	RequestBody struct{ Content map[string]media }
	Responses   map[string]struct{ Content map[string]media }
}

type parameter struct {
	Name, In string
	Examples map[string]example
}

type media struct {
	Schema   any
	Examples map[string]example
}

type example struct{ Value any }

func readSpec(t *testing.T, text string) (s spec) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOpenAPIExamples plays every example of the description against the server: those with one name, in parameters, body and
// answer, belong together. Writes come first, in the order of what they say they get.
func TestOpenAPIExamples(t *testing.T) {
	s := newServer(t)
	doc := readSpec(t, s.want(s.do("GET", "/v1/openapi.json", ""), 200, `"3.1.0"`).body)
	order := map[string]int{"add": 1, "move": 2, "again": 3, "stale": 4, "several": 5, "key": 6}
	type play struct {
		path, method, name string
		op                 operation
	}
	var plays []play
	for path, methods := range doc.Paths {
		for method, op := range methods {
			for _, name := range exampleNames(op) {
				plays = append(plays, play{path, method, name, op})
			}
		}
	}
	rank := func(p play) int {
		if n := order[p.name]; n > 0 && p.method == "post" {
			return n
		}
		return 100
	}
	slices.SortFunc(plays, func(a, b play) int { return rank(a) - rank(b) })
	if len(plays) < 18 {
		t.Fatalf("only %d examples found", len(plays))
	}
	for _, p := range plays {
		playExample(t, s, &doc, p.path, p.method, p.name, p.op)
	}
}

// exampleNames lists the examples that an answer tells of, or a request.
func exampleNames(op operation) []string {
	names := map[string]bool{}
	for _, r := range op.Responses {
		for _, m := range r.Content {
			for n := range m.Examples {
				names[n] = true
			}
		}
	}
	for _, m := range op.RequestBody.Content {
		for n := range m.Examples {
			names[n] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func playExample(t *testing.T, s *server, doc *spec, path, method, name string, op operation) {
	query := url.Values{}
	var headers []string
	for _, p := range op.Parameters {
		e, ok := p.Examples[name]
		if !ok {
			continue
		}
		v := fmt.Sprint(e.Value)
		switch p.In {
		case "path":
			path = strings.ReplaceAll(path, "{"+p.Name+"}", v)
		case "query":
			query.Set(p.Name, v)
		case "header":
			headers = append(headers, p.Name, v)
		}
	}
	body := ""
	if m, ok := op.RequestBody.Content[contentJSON]; ok {
		e, ok := m.Examples[name]
		if !ok {
			t.Errorf("%s %s: example %s has no body", method, path, name)
			return
		}
		text, _ := json.Marshal(e.Value)
		body = string(text)
		headers = append(headers, "Content-Type", contentJSON)
		doc.check(t, path+" request "+name, m.Schema, e.Value)
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	got := s.do(strings.ToUpper(method), path, body, headers...)
	for code, r := range op.Responses {
		m, ok := r.Content[contentJSON]
		e, has := m.Examples[name]
		if !ok || !has {
			continue
		}
		var v any
		d := json.NewDecoder(strings.NewReader(got.body))
		d.UseNumber()
		if err := d.Decode(&v); err != nil || strconv.Itoa(got.status) != code {
			t.Errorf("%s %s (%s): %d %s, want %s", method, path, name, got.status, got.body, code)
			return
		}
		doc.check(t, path+" answer "+name, m.Schema, v)
		doc.check(t, path+" example "+name, m.Schema, e.Value)
		if !alike(e.Value, v) {
			want, _ := json.Marshal(e.Value)
			t.Errorf("%s %s (%s):\n got %s\nwant %s", method, path, name, got.body, want)
		}
		return
	}
	if op.Responses[strconv.Itoa(got.status)].Content != nil || got.status >= http.StatusBadRequest {
		t.Errorf("%s %s (%s): %d %s", method, path, name, got.status, got.body)
	}
}

// alike compares an example with what came; times differ, and "*" stands for any text.
func alike(want, got any) bool {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for k := range w {
			if _, ok := g[k]; !ok || k != "at" && !alike(w[k], g[k]) {
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		return ok && slices.EqualFunc(w, g, alike)
	}
	return want == "*" || want == got
}

// check validates a value against the part of JSON Schema that the description uses.
func (d *spec) check(t *testing.T, where string, schema, v any) {
	t.Helper()
	if why := d.mismatch(schema, v); why != "" {
		t.Errorf("%s: %s", where, why)
	}
}

func (d *spec) mismatch(schema, v any) string {
	s, ok := schema.(map[string]any)
	if !ok {
		return "the schema is no object"
	}
	if r, ok := s["$ref"].(string); ok {
		to := d.Components.Schemas[strings.TrimPrefix(r, "#/components/schemas/")]
		if to == nil {
			return r + " is not there"
		}
		return d.mismatch(to, v)
	}
	if any, ok := s["oneOf"].([]any); ok {
		why := ""
		for _, one := range any {
			if why = d.mismatch(one, v); why == "" {
				return ""
			}
		}
		return why
	}
	if e, ok := s["enum"].([]any); ok && !slices.Contains(e, v) {
		return fmt.Sprintf("%v is none of %v", v, e)
	}
	if c, ok := s["const"]; ok && c != v {
		return fmt.Sprintf("%v is not %v", v, c)
	}
	switch s["type"] {
	case "object":
		return d.mismatchObject(s, v)
	case "array":
		list, ok := v.([]any)
		if !ok {
			return fmt.Sprintf("%v is no array", v)
		}
		for _, item := range list {
			if why := d.mismatch(s["items"], item); why != "" {
				return why
			}
		}
	case "string":
		if _, ok := v.(string); !ok {
			return fmt.Sprintf("%v is no string", v)
		}
	case "integer":
		n, ok := v.(json.Number)
		if _, err := strconv.ParseInt(string(n), 10, 64); !ok || err != nil {
			return fmt.Sprintf("%v is no integer", v)
		}
	}
	return ""
}

func (d *spec) mismatchObject(s map[string]any, v any) string {
	o, ok := v.(map[string]any)
	if !ok {
		return fmt.Sprintf("%v is no object", v)
	}
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, ok := o[name.(string)]; !ok {
			return fmt.Sprintf("%v is missing in %v", name, o)
		}
	}
	properties, ok := s["properties"].(map[string]any)
	for name, field := range o {
		p, known := properties[name]
		if ok && !known {
			return name + " is not described"
		}
		if known {
			if why := d.mismatch(p, field); why != "" {
				return name + ": " + why
			}
		}
	}
	return ""
}

// TestOpenAPIRoutes holds the description against the routes: every path and method of the one is in the other.
func TestOpenAPIRoutes(t *testing.T) {
	doc := readSpec(t, string(openapiText))
	seen := 0
	for i := range routes {
		path := routes[i].path
		if routes[i].named {
			path += "{stream}"
		}
		for method := range routes[i].methods {
			seen++
			if _, ok := doc.Paths[path][strings.ToLower(method)]; !ok {
				t.Errorf("%s %s is not described", method, path)
			}
		}
	}
	for path, methods := range doc.Paths {
		seen -= len(methods)
		_ = path
	}
	if seen != 0 {
		t.Errorf("the description has %d operations more than the routes", -seen)
	}
}
