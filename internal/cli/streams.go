package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"tidemark/internal/wire"
	"tidemark/store"
)

// maxAnswer bounds what an answer may make this process allocate.
const maxAnswer = 1 << 30

type streamsCmd struct {
	remote
	Prefix string `arg:"" optional:"" help:"Only streams whose names begin so."`
	JSON   bool   `name:"json" help:"Print streams as JSON, one a line."`
}

// Run lists the streams in the order of their names, page by page.
func (c *streamsCmd) Run(ctx context.Context, sys *system) error {
	const limit = 1000
	out := bufio.NewWriter(sys.out)
	q := url.Values{"prefix": {c.Prefix}, "limit": {fmt.Sprint(limit)}}
	if c.Prefix == "" {
		q.Del("prefix")
	}
	for {
		text, err := c.get(ctx, "/v1/streams", q)
		if err != nil {
			return err
		}
		page, err := wire.DecodeStreams(text)
		if err != nil {
			return err
		}
		for i := range page {
			c.print(out, &page[i])
		}
		if len(page) < limit {
			return out.Flush()
		}
		q.Set("after", string(page[len(page)-1].Stream))
	}
}

func (c *streamsCmd) print(out *bufio.Writer, s *store.StreamInfo) {
	if !c.JSON {
		fmt.Fprintf(out, "%s  head %d  events %d\n", plain(string(s.Stream)), s.Head, s.Count)
		return
	}
	line := wire.AppendStreams(nil, []store.StreamInfo{*s})
	line = line[bytes.IndexByte(line, '[')+1 : len(line)-len("]}")]
	out.Write(append(appendPlainJSON(nil, line), '\n'))
}

// readAnswer returns the body of a good answer, and the error that another one names.
func readAnswer(res *http.Response) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return text, nil
	}
	if e := wire.DecodeErrorBody(text); e != nil {
		return nil, e
	}
	return nil, fmt.Errorf("the server answered %s: %.200q", res.Status, text)
}
