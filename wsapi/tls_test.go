package wsapi

import (
	"crypto/tls"
	"net/http/httptest"
	"testing"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
)

// TestTLS runs a conversation with large messages both ways, compression and an orderly end over TLS, where a connection
// cannot be waited for without a buffer.
func TestTLS(t *testing.T) {
	r := newRig(t, rigOptions{ws: Options{Compression: true}})
	front := httptest.NewUnstartedServer(r.ws)
	front.StartTLS()
	defer front.Close()
	nc, err := tls.Dial("tcp", front.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	check(t, err)
	c := newRawConn(t, nc)
	c.handshake("Sec-WebSocket-Protocol: tidemark.v1", "Origin: https://localhost")
	c.hello()
	c.text(`{"type":"subscribe","sub":1,"stream":"a","from":"now"}`)
	c.expect("subscribed")
	c.expect("live")
	data := join([]byte(`"`), repeated("x", 250_000), []byte(`"`))
	m := wire.Push{Stream: "a", HasStream: true, Push: store.Push{Mutations: []store.Mutation{
		{ID: store.NewID(), Stream: "a", Type: "t", Data: data}, {ID: store.NewID(), Stream: "a", Type: "t", Data: data}}}}
	c.write(clientFrame(bitFin|opText, m.Append(nil)))
	for got := 0; got < 2; {
		msg, err := wire.DecodeServer(c.next().payload)
		check(t, err)
		if e, ok := msg.(*wire.Events); ok {
			got += len(e.Events)
		}
	}
	c.write(clientFrame(bitFin|opClose, []byte{3, 232}))
	c.expectClose(1000)
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.frame(); err == nil {
		t.Error("something came after the close frame")
	}
}
