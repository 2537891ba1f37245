// Authserver is a Tidemark server for the browser tests, whose tokens are "subject:Unix ms of the end".
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"tidemark/store"
	eventsync "tidemark/sync"
	"tidemark/wsapi"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	data := flag.String("data", "", "data file")
	origin := flag.String("origin", "", "origin of the pages")
	flag.Parse()
	if err := run(*listen, *data, *origin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(listen, data, origin string) error {
	db, err := store.Open(data, store.Options{})
	if err != nil {
		return err
	}
	var limits eventsync.Limits
	engine, err := eventsync.New(db, eventsync.Options{Encoder: wsapi.NewEncoder(limits), Authenticate: authenticate, Heartbeat: 25 * time.Second})
	if err != nil {
		return err
	}
	ws, err := wsapi.New(engine, wsapi.Options{Origins: []string{origin}})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/ws", ws)
	return http.Serve(l, mux)
}

func authenticate(_ context.Context, token string) (eventsync.Principal, error) {
	subject, end, _ := strings.Cut(token, ":")
	ms, err := strconv.ParseInt(end, 10, 64)
	if err != nil {
		return eventsync.Principal{}, &store.Refusal{Code: "unauthorized", Message: "not a token"}
	}
	expires := time.UnixMilli(ms)
	if time.Now().After(expires) {
		return eventsync.Principal{}, &store.Refusal{Code: "token_expired", Message: "the token has expired"}
	}
	return eventsync.Principal{Subject: subject, Expires: expires}, nil
}
