// Tidemark is an event-sourced sync server: one binary, one file.
//
// This file is the map. Everything below is put together here, from the inside to the outside, and nowhere else:
//
//	store              the log and its views, in one bbolt file: what is durable, and in which order
//	sync               the engine: who is subscribed to what, and what to send next (imported as eventsync)
//	wsapi              the WebSocket edge: handshake, frames, deadlines
//	internal/httpapi   the HTTP API, and health
//	durablestreams     (internal) the Durable Streams protocol, over the same log
//	internal/wire      the JSON of the protocol, for both edges and the client
//	internal/auth      token → principal
//	internal/cli       the command line, with serve, which runs what build returns
//	web/demo           a page for several people at /demo/, and an example of the TypeScript client
//	client             the Go client, which push, tail and bench use
//
// ARCHITECTURE.md follows one mutation and one reconnect through them.
package main

import (
	"context"
	"errors"
	"net/http"
	"os"

	"tidemark/internal/auth"
	"tidemark/internal/cli"
	"tidemark/internal/durablestreams"
	"tidemark/internal/httpapi"
	"tidemark/internal/wire"
	"tidemark/store"
	eventsync "tidemark/sync"
	"tidemark/wsapi"
)

func main() { os.Exit(cli.Main(build)) }

// build opens the file and hangs the engine and the edges on it. On an error nothing is left open.
func build(c cli.Config) (*cli.Server, error) {
	db, err := store.Open(c.Data, store.Options{
		Limits:     store.Limits{Data: c.Limits.Data, Doc: c.Limits.Doc},
		Retention:  c.Retention,
		TailBytes:  int(c.Tail),
		QueueBytes: int(c.Queue),
		KeepAll:    true, // durablestreams lets go what it has written down
		OnFail:     c.OnFail,
		Verify:     c.Verify,
		Logger:     c.Logger,
	})
	if err != nil {
		return nil, err
	}
	srv, err := edges(c, db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return srv, nil
}

func edges(c cli.Config, db *store.Store) (*cli.Server, error) {
	who := auth.Everybody() // the one seam for authentication
	engine, err := eventsync.New(db, eventsync.Options{
		Encoder:      wsapi.NewEncoder(eventsync.Limits(c.Limits)),
		Authenticate: who,
		Limits:       eventsync.Limits(c.Limits),
		Heartbeat:    c.Heartbeat,
		Budget:       c.Budget,
		Server:       "tidemark/" + cli.Version,
		MinApp:       c.MinApp,
		Logger:       c.Logger,
	})
	if err != nil {
		return nil, err
	}
	ws, err := wsapi.New(engine, wsapi.Options{Origins: c.Origins, Compression: c.Compress, Conns: c.Conns.Open,
		ConnsPerAddress: c.Conns.PerAddress, Handshakes: c.Conns.Handshakes, Logger: c.Logger})
	if err != nil {
		return nil, cli.BadSetting(err)
	}
	rates := httpapi.NewRates(httpapi.Rate{PerSecond: c.HTTPRate, Burst: c.HTTPBurst})
	streams, err := durablestreams.New(durablestreams.Options{
		Log: db, Authenticate: who, MaxMessage: c.Limits.Data, WebhookLoopback: c.WebhookLoopback, LongPoll: c.LongPoll,
		Charge: rates.Charge, Logger: c.Logger,
	})
	if err != nil {
		return nil, err
	}
	api, err := httpapi.New(httpapi.Options{
		Log: db, Live: engine, Authenticate: who, Limits: wire.Limits(c.Limits), Ready: db.Writable,
		Rates: rates, Note: db.RetentionPaused, Origins: c.Origins,
		Version: cli.Version, Logger: c.Logger,
		Mount: map[string]http.Handler{"/v1/ws": ws, durablestreams.Path: streams, "/demo/": demoHandler()},
	})
	if err != nil {
		return nil, errors.Join(err, streams.Close())
	}
	return &cli.Server{
		Handler: api,
		Store:   db,
		Drain: func(ctx context.Context) error {
			api.Drain()
			streams.Drain()
			return errors.Join(engine.Drain(ctx), ws.Shutdown(ctx))
		},
		Close: func() error {
			api.Close()
			return errors.Join(streams.Close(), db.Close())
		},
	}, nil
}
