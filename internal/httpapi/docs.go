package httpapi

import (
	"net/http"
	"strings"

	"tidemark/internal/respond"
	"tidemark/internal/wire"
	"tidemark/store"
)

// docsBytes is about the size of a page of documents: what an answer of any size costs in memory.
const docsBytes = 256 << 10

// getDocs answers with one document, or with a snapshot of all; as they are now, or as they were.
func (c *call) getDocs() error {
	f, err := c.filter()
	if err != nil {
		return err
	}
	at, past, err := c.seqParam("at")
	if err != nil {
		return err
	}
	key, one, err := c.param("key")
	if err != nil {
		return err
	}
	if !one {
		return c.sendSnapshot(f, at, past)
	}
	st, exact := f.Stream()
	if !exact {
		return badParam("key", "the name of one stream beside it")
	}
	doc, ok, err := c.doc(st, key, at, past)
	if err != nil {
		return err
	}
	return c.sendDoc(doc, ok)
}

func (c *call) doc(st store.Stream, key string, at store.Seq, past bool) (store.Doc, bool, error) {
	if past {
		return c.Log.DocAt(st, key, at)
	}
	return c.Log.Doc(st, key)
}

func (c *call) sendDoc(doc store.Doc, ok bool) error {
	c.w.Header().Set("Cache-Control", "private, no-cache")
	if !ok {
		return fault(store.CodeNotFound, "there is no document at this key")
	}
	tag := wire.ETag(c.Log.LogID(), doc.Seq)
	c.w.Header().Set("ETag", tag)
	if matches(c.r.Header.Values("If-None-Match"), tag) {
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return c.send(http.StatusOK, wire.AppendDoc(nil, &doc, false))
}

// matches compares weakly, as RFC 9110 wants it for If-None-Match: our tags hold neither commas nor quotes inside.
func matches(headers []string, tag string) bool {
	for _, h := range headers {
		for t := range strings.SplitSeq(h, ",") {
			if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// sendSnapshot writes all documents page by page. Trimming waits meanwhile, so that the reader can go on from seq.
func (c *call) sendSnapshot(f store.Filter, at store.Seq, past bool) error {
	read, hold := c.Log.Documents, c.Log.Head()
	if past {
		hold = at
		read = func(f store.Filter, after store.DocKey, bytes int) (store.DocPage, error) {
			return c.Log.DocumentsAt(f, at, after, bytes)
		}
	}
	defer c.Log.HoldTrim(hold)()
	seq := at
	if !past {
		seq = c.Log.Head()
	}
	page, err := read(f, store.DocKey{}, docsBytes)
	if err != nil {
		return err
	}
	c.w.Header().Set("Cache-Control", "private, no-cache")
	out := c.compressed(respond.Unknown)
	out.Begin(http.StatusOK, contentJSON, respond.Unknown)
	buf := wire.AppendDocsOpen(nil, seq)
	first := true
	for {
		if len(page.Docs) > 0 && !first {
			buf = append(buf, ',')
		}
		first = first && len(page.Docs) == 0
		buf = wire.AppendDocs(buf, page.Docs, f.Wide())
		if !page.More {
			out.Write(wire.AppendDocsClose(buf, page.Head))
			return finish(out)
		}
		if out.Write(buf); out.Err() != nil {
			return finish(out)
		}
		buf = buf[:0]
		if page, err = read(f, page.Through, docsBytes); err != nil {
			return &aborted{err}
		}
	}
}
