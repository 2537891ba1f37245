package store

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// TestScansPassOverNothingDamaged damages entries of the log so that they look like another stream's, or like none: who reads the stream, or
// those below a prefix, is told, and is not given the rest as if it were all.
func TestScansPassOverNothingDamaged(t *testing.T) {
	below, err := ParseFilter("room/**")
	if err != nil {
		t.Fatal(err)
	}
	name := func(v []byte) []byte { v[bytes.LastIndex(v, []byte("room/1"))] ^= 1; return v } // of the last record of an entry
	for what, damage := range map[string]func([]byte) []byte{
		"name":  name,
		"count": func(v []byte) []byte { v[2] ^= 1; return v },
		"ends":  func(v []byte) []byte { v[4] ^= 4; return v },
	} {
		t.Run(what, func(t *testing.T) {
			o := quiet()
			o.TailBytes = 1
			s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
			for n := range 2 * mergeStreams { // so many streams that a prefix is read by a scan
				p := &Push{By: "tester", Mutations: []Mutation{note(Stream(fmt.Sprint("room/n", n)), "1")}}
				for i := range 11 {
					p.Mutations = append(p.Mutations, note(Stream(fmt.Sprint("room/", 1+i%2)), "1"))
				}
				if _, err := s.AppendWait(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			}
			err := s.onWriter(t.Context(), func() error {
				s.flushTo(s.Head())
				return s.update(func(tx *bolt.Tx) error {
					c := logOf(tx).b.Cursor()
					k, v := c.First()
					for e := parseEntry(k, v); e.n < 2; e = parseEntry(k, v) {
						k, v = c.Next()
					}
					return logOf(tx).b.Put(bytes.Clone(k), damage(bytes.Clone(v)))
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range []Filter{Only("room/1"), below, All} {
				var corrupt *CorruptError
				if _, err := readOrFail(s, f); !errors.As(err, &corrupt) {
					t.Errorf("read %s: %v", f, err)
				}
			}
		})
	}
}

func readOrFail(s *Store, f Filter) (out []Event, err error) {
	for after := Seq(0); ; {
		p, err := s.Read(f, after, PageLimit{})
		if err != nil {
			return nil, err
		}
		out = append(out, p.Events...)
		if after = p.Through; !p.More {
			return out, nil
		}
	}
}

// TestWalksEndAtWhatWasWritten: an entry whose key is damaged may look like what is behind the last one of a list.
func TestWalksEndAtWhatWasWritten(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	for i := range 5 {
		push(t, s, put("room/1", fmt.Sprint("k", i), "1"))
	}
	err := s.onWriter(t.Context(), func() error {
		s.flushTo(s.Head())
		return s.update(func(tx *bolt.Tx) error {
			for bucket, keys := range map[string][2]string{
				string(bucketDocs): {"room/1\x00k4", "room/2\x00k4"}, string(bucketHeads): {"room/1", "soom/1"},
			} {
				b := tx.Bucket([]byte(bucket))
				v := bytes.Clone(b.Get([]byte(keys[0])))
				if err := errors.Join(b.Delete([]byte(keys[0])), b.Put([]byte(keys[1]), v)); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := s.Documents(Only("room/1"), DocKey{}, 1<<20); err == nil {
		t.Errorf("%d documents are all", len(p.Docs))
	}
	if list, err := s.Streams("room/", "", 10); err == nil {
		t.Errorf("%d streams are all", len(list))
	}
}

// TestLookupOvertakenByADeletion: a run that was merged away is deleted step by step. Who still asks it finds it damaged, and asks again.
func TestLookupOvertakenByADeletion(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	push(t, s, note("s", "1"))
	id := readAll(t, s, All, 0, PageLimit{})[0].ID
	if err := s.onWriter(t.Context(), func() error { s.flushTo(s.Head()); return nil }); err != nil {
		t.Fatal(err)
	}
	asked := 0
	view := func(fn func(*bolt.Tx) error) error {
		if asked++; asked == 1 {
			s.ids.runs.Store(newIDRuns(s.ids.runs.Load().list))
			return corruptIDs("a chunk is missing")
		}
		return s.view(fn)
	}
	if e, ok, err := s.ids.lookup(view, id); err != nil || !ok || e.Seq != 1 || asked < 2 {
		t.Errorf("%v, %v, %v, asked %d times", e, ok, err, asked)
	}
}
