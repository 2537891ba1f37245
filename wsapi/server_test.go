package wsapi

import (
	"testing"
)

func TestSmoke(t *testing.T) {
	r := newRig(t, rigOptions{})
	c := r.dial("Sec-WebSocket-Protocol: tidemark.v1")
	c.hello()
	c.text(`{"type":"subscribe","sub":1,"stream":"a/**"}`)
	t.Log(c.expect("subscribed"))
	t.Log(c.expect("snapshot"))
	t.Log(c.expect("live"))
	c.text(`{"type":"push","stream":"a/b","mutations":[{"id":"0191d3a8-7f2e-7c3a-9b1d-000000000001","type":"x","key":"k","op":"put","data":{"a":1}}]}`)
	t.Log(string(c.next().payload))
	t.Log(string(c.next().payload))
	c.text(`{"type":"ping","ref":1}`)
	t.Log(c.expect("pong"))
	c.write(clientFrame(bitFin|opPing, []byte("hi")))
	t.Log(c.next())
	c.write(clientFrame(bitFin|opClose, []byte{3, 232}))
	c.expectClose(1000)
}
