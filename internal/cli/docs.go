package cli

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"tidemark/internal/wire"
	"tidemark/store"
)

type docsCmd struct {
	remote
	Stream string `arg:"" help:"Stream."`
	Key    string `arg:"" optional:"" help:"Only the document with this key."`
	At     string `help:"As it was after this seq." placeholder:"SEQ"`
	JSON   bool   `name:"json" help:"Print documents as JSON, one a line, with key and seq."`
}

// Run prints the documents in the order of their keys, or the one that was asked for.
func (c *docsCmd) Run(ctx context.Context, sys *system) error {
	if _, err := store.ParseStream(c.Stream); err != nil {
		return usageError{err}
	}
	q := url.Values{}
	if c.At != "" {
		q.Set("at", c.At)
	}
	if c.Key != "" {
		return c.one(ctx, sys, q)
	}
	text, err := c.get(ctx, "/v1/docs/"+escapePath(c.Stream), q)
	if err != nil {
		return err
	}
	page, err := wire.DecodeDocsPage(text)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(sys.out)
	for i := range page.Docs {
		c.print(out, &page.Docs[i])
	}
	return out.Flush()
}

func (c *docsCmd) one(ctx context.Context, sys *system, q url.Values) error {
	q.Set("key", c.Key)
	text, err := c.get(ctx, "/v1/docs/"+escapePath(c.Stream), q)
	if err != nil {
		return err
	}
	d, err := wire.DecodeDoc(text)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(sys.out)
	c.printOne(out, &d)
	return out.Flush()
}

func (c *docsCmd) print(out *bufio.Writer, d *store.Doc) {
	if c.JSON {
		out.Write(append(appendPlainJSON(nil, wire.AppendDoc(nil, d, false)), '\n'))
		return
	}
	fmt.Fprintf(out, "%s  %s\n", plain(d.Key), appendPlainJSON(nil, d.Data))
}

// printOne prints the one document that was asked for: its key is known.
func (c *docsCmd) printOne(out *bufio.Writer, d *store.Doc) {
	if c.JSON {
		c.print(out, d)
		return
	}
	out.Write(append(appendPlainJSON(nil, d.Data), '\n'))
}

// escapePath escapes the segments of a stream's name, so that the server gets the name when it unescapes once.
func escapePath(stream string) string {
	parts := strings.Split(stream, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// get reads one answer of the server's HTTP API.
func (r *remote) get(ctx context.Context, path string, q url.Values) ([]byte, error) {
	base, err := url.Parse(r.Server)
	if err != nil {
		return nil, usageError{err}
	}
	scheme := map[string]string{"ws": "http", "wss": "https"}[base.Scheme]
	if scheme == "" {
		scheme = base.Scheme
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+base.Host+path+"?"+q.Encode(), nil)
	if err != nil {
		return nil, usageError{err}
	}
	if r.Token != "" {
		req.Header.Set("Authorization", "Bearer "+r.Token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return readAnswer(res)
}
