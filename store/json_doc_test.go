package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestAppendDocument(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{`1.00`, `1.00`},
		{`{}`, `{}`},
		{`[]`, `[]`},
		{`{"a":1,"b":2}`, `{"a":1,"b":2}`},
		{`{"a":1,"b":2,"a":3}`, `{"a":3,"b":2}`},
		{`{"a":1,"\u0061":3}`, `{"\u0061":3}`},
		{`{"a":{"x":1},"a":{"y":2,"y":3}}`, `{"a":{"y":3}}`},
		{`[{"a":1,"a":2},[{"b":1,"b":null}]]`, `[{"a":2},[{"b":null}]]`},
		{`{"a":{"b":{"c":1,"c":2},"b":{"d":1,"d":2}},"e":{"f":1,"f":2}}`, `{"a":{"b":{"d":2}},"e":{"f":2}}`},
		{`{"\ud800":1,"\ud801":2,"\ud800":3}`, `{"\ud800":3,"\ud801":2}`},
		{`{"🌊":1,"\ud83c\udf0a":2}`, `{"\ud83c\udf0a":2}`},
		{`{"\ud83c":1,"\udf0a":2,"\ud83c\ud83c\udf0a":3}`, `{"\ud83c":1,"\udf0a":2,"\ud83c\ud83c\udf0a":3}`},
		{`{"\\u0061":1,"\u005cu0061":2}`, `{"\u005cu0061":2}`},
		{`{"\b\f\n\r\t\"\/\\":1,"\u0008\u000c\u000A\u000d\u0009\u0022\u002F\u005c":2}`, `{"\u0008\u000c\u000A\u000d\u0009\u0022\u002F\u005c":2}`},
	} {
		if out, err := AppendDocument([]byte("kept"), []byte(c.in)); err != nil || string(out) != "kept"+c.out {
			t.Errorf("AppendDocument(%s) = %s, %v; want %s", c.in, out, err, c.out)
		}
	}
}

// TestMergePatchRFC7396 runs the cases of the RFC's appendix A whose patch is an object, and of its section 3.
func TestMergePatchRFC7396(t *testing.T) {
	for _, c := range []struct{ doc, patch, out string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{"title":"Goodbye!","author":{"givenName":"John","familyName":"Doe"},"tags":["example","sample"],"content":"This will be unchanged"}`,
			`{"title":"Hello!","phoneNumber":"+01-123-456-7890","author":{"familyName":null},"tags":["example"]}`,
			`{"title":"Hello!","author":{"givenName":"John"},"tags":["example"],"content":"This will be unchanged","phoneNumber":"+01-123-456-7890"}`},
	} {
		checkMergeText(t, c.doc, c.patch, c.out)
	}
	// Patches that are no object replace the document in the RFC; here they are refused, for a put does that.
	for _, patch := range []string{`["c"]`, `null`, `"bar"`, `1`, ``} {
		if out, err := MergePatch(nil, []byte(`{"a":"foo"}`), []byte(patch)); err == nil {
			t.Errorf("MergePatch with %q = %s, want an error", patch, out)
		}
	}
}

func checkMergeText(t *testing.T, doc, patch, want string) {
	t.Helper()
	out, err := MergePatch([]byte("kept"), []byte(doc), []byte(patch))
	if err != nil || string(out) != "kept"+want {
		t.Errorf("MergePatch(%s, %s) = %s, %v; want %s", doc, patch, out, err, want)
	}
}

func TestMergePatchKeepsBytes(t *testing.T) {
	for _, c := range []struct{ doc, patch, out string }{
		{``, `{}`, `{}`},
		{``, `{"a":1.0,"b":null,"c":{"d":null}}`, `{"a":1.0,"c":{}}`},
		{`{}`, `{}`, `{}`},
		{`{"n":1.10,"s":"\u0041\/","z":[1E2,{"k":null}]}`, `{"x":0.30}`, `{"n":1.10,"s":"\u0041\/","z":[1E2,{"k":null}],"x":0.30}`},
		{`{"n":{"m":1.10,"o":2}}`, `{"n":{"o":3.0}}`, `{"n":{"m":1.10,"o":3.0}}`},
		{`{"a":1,"b":2,"c":3}`, `{"b":null}`, `{"a":1,"c":3}`},
		{`{"a":1,"b":2,"c":3}`, `{"a":null,"c":null}`, `{"b":2}`},
		{`{"a":1,"b":2}`, `{"a":null,"b":null,"d":null}`, `{}`},
		{`{"a":1}`, `{"\u0061":2}`, `{"a":2}`},
		{`{"\ud800":1}`, `{"\ud800":2,"\ud801":3}`, `{"\ud800":2,"\ud801":3}`},
		{`{"a":1}`, `{"a":2,"a":null}`, `{}`},
		{`{"a":1}`, `{"a":null,"a":2}`, `{"a":2}`},
		{`{"a":{"b":1}}`, `{"a":{"c":1},"a":{"d":1}}`, `{"a":{"b":1,"d":1}}`},
		{`{"a":1}`, `{"a":{"b":null}}`, `{"a":{}}`},
		{`{"a":1}`, `{"a":[{"b":1,"b":null}]}`, `{"a":[{"b":null}]}`},
		{`{"a":[{"b":1}]}`, `{"a":{"b":{"c":null,"d":[null]}}}`, `{"a":{"b":{"d":[null]}}}`},
	} {
		checkMergeText(t, c.doc, c.patch, c.out)
	}
}

// decoded is the meaning of a JSON text as encoding/json sees it.
func decoded(t testing.TB, text []byte) (v any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// mergeReference is the pseudo code of RFC 7396, section 2.
func mergeReference(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out := map[string]any{}
	if old, ok := target.(map[string]any); ok {
		maps.Copy(out, old)
	}
	for name, v := range p {
		if v == nil {
			delete(out, name)
		} else {
			out[name] = mergeReference(out[name], v)
		}
	}
	return out
}

// checkDocument makes a document of data, compares it with data's meaning, and returns it.
func checkDocument(t *testing.T, data []byte) []byte {
	t.Helper()
	doc, err := AppendDocument(nil, data)
	if err != nil || len(doc) > len(data) {
		t.Fatalf("AppendDocument(%s) = %s, %v", data, doc, err)
	}
	if got, want := decoded(t, doc), decoded(t, data); !reflect.DeepEqual(got, want) {
		t.Fatalf("AppendDocument(%s) = %s", data, doc)
	}
	if again, err := AppendDocument(nil, doc); err != nil || !bytes.Equal(again, doc) {
		t.Fatalf("AppendDocument(%s) = %s, %v; it was one already", doc, again, err)
	}
	checkCompact(t, doc)
	return doc
}

func checkMerge(t *testing.T, doc, patch []byte) []byte {
	t.Helper()
	out, err := MergePatch(nil, doc, patch)
	if err != nil || len(out) > MergeBound(len(doc), len(patch)) {
		t.Fatalf("MergePatch(%s, %s) = %s, %v", doc, patch, out, err)
	}
	if got, want := decoded(t, out), mergeReference(decoded(t, doc), decoded(t, patch)); !reflect.DeepEqual(got, want) {
		t.Fatalf("MergePatch(%s, %s) = %s, want %v", doc, patch, out, want)
	}
	return checkDocument(t, out)
}

func TestMergePatchAgainstEncodingJSON(t *testing.T) {
	for seed := range seeds(1000) {
		g := newJSONGen(seed)
		doc := checkDocument(t, g.value(5))
		for range 5 {
			doc = checkMerge(t, doc, g.object(4))
		}
	}
}

func FuzzMergePatch(f *testing.F) {
	f.Fuzz(func(t *testing.T, doc, patch []byte) {
		d, rest1, err1 := CompactValue(nil, doc)
		p, rest2, err2 := CompactValue(nil, patch)
		if err1 != nil || err2 != nil || len(rest1)+len(rest2) > 0 {
			_, _ = AppendDocument(nil, doc) // what is no compact JSON may give anything but a panic
			_, _ = MergePatch(nil, doc, patch)
			return
		}
		if bytes.Contains(bytes.ToLower(append(bytes.Clone(d), p...)), []byte(`\ud`)) {
			return // encoding/json takes all lone surrogates for one
		}
		d = checkDocument(t, d)
		if p[0] == '{' {
			checkMerge(t, d, p)
		}
	})
}

// TestMergePatchHostile merges the most expensive input that the limits allow: deep, with long tails at every level, and with many equal names.
func TestMergePatchHostile(t *testing.T) {
	nested := func(size int) []byte {
		pad := strings.Repeat("x", size/MaxDepth)
		return []byte(strings.Repeat(`{"p":"`+pad+`","a":`, MaxDepth) + "1" + strings.Repeat("}", MaxDepth))
	}
	twice := []byte("1")
	for range 17 {
		twice = fmt.Appendf(nil, `{"a":%s,"a":%s}`, "1", twice)
	}
	var many bytes.Buffer
	many.WriteByte('{')
	for i := range 40000 {
		fmt.Fprintf(&many, `"%d":1,`, i%30000)
	}
	many.WriteString(`"":1}`)
	start := time.Now()
	for _, c := range []struct{ doc, patch []byte }{
		{nested(1 << 20), nested(1 << 18)}, {nested(1 << 20), []byte(`{"a":null}`)}, {twice, twice}, {many.Bytes(), many.Bytes()},
	} {
		doc, err := AppendDocument(nil, c.doc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := MergePatch(nil, doc, c.patch); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("took %v", time.Since(start))
}

func BenchmarkMergePatch(b *testing.B) {
	doc := []byte(`{"column":"done","title":"Write the minutes of the meeting","position":1024.5,"labels":["urgent","home"],"assignee":{"id":"0192f0c1-7aaa-7bbb-8ccc-0123456789ab","name":"Alice"},"done":false}`)
	patch := []byte(`{"column":"doing","assignee":{"name":"Bob"}}`)
	dst := make([]byte, 0, 1024)
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := MergePatch(dst, doc, patch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendDocument(b *testing.B) {
	data := []byte(`{"column":"done","title":"Write the minutes of the meeting","position":1024.5,"labels":["urgent","home"],"assignee":{"id":"0192f0c1-7aaa-7bbb-8ccc-0123456789ab","name":"Alice"},"done":false}`)
	dst := make([]byte, 0, 1024)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := AppendDocument(dst, data); err != nil {
			b.Fatal(err)
		}
	}
}
