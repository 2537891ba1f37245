package main

import (
	"net/http"
	"testing"
)

// TestConnectionLimits holds the process to the flags that bound connections.
func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		flag   string
		status int
	}{
		{"--limit-conns", http.StatusServiceUnavailable},
		{"--limit-conns-per-address", http.StatusTooManyRequests},
		{"--limit-handshakes", http.StatusTooManyRequests},
	} {
		srv := newServer(t, test.flag, "2")
		srv.start()
		for i := range 100 { // a second may end between two handshakes
			l, status := upgrade(t, srv.opts.Listen)
			if status == test.status && i >= 2 {
				break
			}
			if status != http.StatusSwitchingProtocols || i == 99 {
				t.Errorf("%s: connection %d got %d", test.flag, i+1, status)
				break
			}
			if test.flag == "--limit-handshakes" {
				l.nc.Close()
			}
		}
		srv.stop()
	}
}
