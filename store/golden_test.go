package store

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files of this version anew")

const goldenDir = "../testdata/store"

// A file of every format version is kept; each must open and hold what it held.
func TestGoldenFiles(t *testing.T) {
	sequential(t)
	if *update {
		writeGolden(t, fmt.Sprintf("v%d", formatVersion))
	}
	files, err := filepath.Glob(filepath.Join(goldenDir, "v*.tidemark.gz"))
	if err != nil || len(files) < formatVersion {
		t.Fatalf("%d golden files of %d versions, %v", len(files), formatVersion, err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "copy.tidemark")
			unzip(t, f, path)
			want, err := os.ReadFile(strings.TrimSuffix(f, ".tidemark.gz") + ".json")
			if err != nil {
				t.Fatal(err)
			}
			s := openTest(t, path, quiet())
			if got := dump(t, s); !bytes.Equal(got, want) {
				t.Errorf("the file holds other things than it did:\n%s", got)
			}
			if v := push(t, s, note("after", "1")); v[0].Seq != s.Head() || v[0].Refusal != nil {
				t.Errorf("append: %+v", v)
			}
		})
	}
}

func unzip(t *testing.T, from, to string) {
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeGolden makes a file that has something of everything.
func writeGolden(t *testing.T, name string) {
	path := filepath.Join(t.TempDir(), "golden.tidemark")
	o := quiet()
	o.flush = flushPol{target: 64, bound: 1000, events: 64, entries: 64}
	now := time.UnixMilli(1_790_000_000_000)
	o.now = func() time.Time { now = now.Add(time.Millisecond); return now }
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	id := 0
	nextID := func() (x ID) {
		id++
		copy(x[:], fmt.Sprintf("golden-%09d", id))
		return x
	}
	send := func(p *Push) {
		for i := range p.Mutations {
			p.Mutations[i].ID = nextID()
		}
		p.By = "alice"
		if _, err := s.AppendWait(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 150 {
		st := Stream(fmt.Sprintf("room/%d", i%3))
		key := fmt.Sprintf("card/%d", i%10)
		send(&Push{Mutations: []Mutation{{Stream: st, Key: key, Op: OpPut, Data: fmt.Appendf(nil, `{"n":%d,"t":"ü"}`, i)}}})
		if i%5 == 0 {
			send(&Push{Atomic: true, Mutations: []Mutation{
				{Stream: st, Key: key, Op: OpPatch, Data: []byte(`{"t":null,"p":1.50}`)},
				{Stream: "audit", Type: "patched", Key: key, Data: []byte(`"x"`)},
				{Stream: "raw", Type: "blob", Bytes: true, Data: []byte{0, 1, 255}, Extra: []byte{7, 2, 'h', 'i'}},
			}})
		}
		if i%17 == 0 {
			send(&Push{Mutations: []Mutation{{Stream: st, Key: "card/0", Op: OpDelete}}})
		}
	}
	var many []Mutation
	for i := range 60 {
		many = append(many, Mutation{Stream: "bulk", Type: "imported", Data: fmt.Appendf(nil, `{"row":%d,"text":%q}`, i, strings.Repeat("x", 3*i))})
	}
	send(&Push{Mutations: many})
	if err := s.Trim(t.Context(), 80); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		send(&Push{Mutations: []Mutation{{Stream: "late", Type: "note", Data: fmt.Appendf(nil, "%d", i)}}})
	}
	want := dump(t, s)
	b, err := os.ReadFile(path) // as kill -9 leaves it, with something in the journal
	if held := s.Stats().JournalBytes; err != nil || held == 0 {
		t.Fatalf("%d bytes in the journal, %v", held, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for suffix, content := range map[string][]byte{".tidemark.gz": zipped.Bytes(), ".json": want} {
		if err := os.WriteFile(filepath.Join(goldenDir, name+suffix), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// dump is everything that a reader can see of a store, as text.
func dump(t *testing.T, s *Store) []byte {
	streams, err := s.Streams("", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	docs, err := s.Documents(All, DocKey{}, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	past, err := s.DocumentsAt(All, s.Floor()+50, DocKey{}, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	type line struct {
		Event Event
		Data  string
	}
	var events []line
	for _, e := range readAll(t, s, All, s.Floor(), PageLimit{}) {
		l := line{Event: e, Data: fmt.Sprintf("%q", e.Data)}
		l.Event.Data = nil
		events = append(events, l)
	}
	b, err := json.MarshalIndent(map[string]any{
		"log": s.LogID(), "floor": s.Floor(), "head": s.Head(), "streams": streams, "events": events,
		"docs": texts(docs.Docs), "past": texts(past.Docs),
	}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func texts(docs []Doc) (out []string) {
	for _, d := range docs {
		out = append(out, fmt.Sprintf("%s %s %d %s", d.Stream, d.Key, d.Seq, d.Data))
	}
	return out
}
