package wsapi

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"strings"
	"sync"

	"tidemark/internal/wire"
)

const (
	// maxRatio is how much larger than what came a message may be that is larger than ratioFree: JSON stays far below,
	// bombs do not.
	maxRatio  = 128
	ratioFree = 16 << 10
	// minDeflate is the smallest message that is compressed: smaller ones hardly get smaller.
	minDeflate = 512
)

// closeGarbage ends a connection whose compressed data cannot be inflated.
var closeGarbage = wire.Close{Code: 1007, Reason: "invalid_payload"}

// offersDeflate reports whether one of the offers of permessage-deflate (RFC 7692, section 7.1) is one that we can take as
// it is: no context takeover in either direction, and windows of any size that the client uses, but not one that it
// prescribes to us.
func offersDeflate(headers []string) bool {
	for _, v := range headers {
		for offer := range strings.SplitSeq(v, ",") {
			if acceptable(offer) {
				return true
			}
		}
	}
	return false
}

func acceptable(offer string) bool {
	name, params, _ := strings.Cut(offer, ";")
	if strings.Trim(name, " \t") != "permessage-deflate" {
		return false
	}
	seen := map[string]bool{}
	for p := range strings.SplitSeq(params, ";") {
		key, value, valued := strings.Cut(strings.Trim(p, " \t"), "=")
		if key == "" && params == "" {
			continue
		}
		switch key = strings.Trim(key, " \t"); {
		case seen[key]:
			return false
		case key == "server_no_context_takeover" || key == "client_no_context_takeover":
			if valued {
				return false
			}
		case key == "client_max_window_bits":
			if valued && !windowBits(strings.Trim(value, ` "`)) {
				return false
			}
		default:
			return false
		}
		seen[key] = true
	}
	return true
}

func windowBits(s string) bool {
	return len(s) == 1 && (s == "8" || s == "9") || len(s) == 2 && s[0] == '1' && '0' <= s[1] && s[1] <= '5'
}

// deflateTail ends a message's data: the empty block that the sender left out, and a last one.
const deflateTail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"

// inflater inflates one message at a time, into memory of its own.
type inflater struct {
	src bytes.Reader
	z   io.ReadCloser
	out []byte
}

var inflaters = sync.Pool{New: func() any {
	return &inflater{z: flate.NewReader(bytes.NewReader(nil))}
}}

// inflateRoom returns how many bytes n compressed bytes may become.
func inflateRoom(n, limit int) int { return min(limit, max(ratioFree, n*maxRatio)) }

var errBomb = errors.New("wsapi: a message grows too much when it is inflated")

// inflate returns the inflated data, which is valid until the next call; errBomb: it would be larger than room.
func (f *inflater) inflate(data []byte, room int) ([]byte, error) {
	f.src.Reset(append(data, deflateTail...))
	if err := f.z.(flate.Resetter).Reset(&f.src, nil); err != nil {
		return nil, err
	}
	f.out = f.out[:0]
	for {
		if len(f.out) == cap(f.out) {
			f.out = append(f.out, 0)[:len(f.out)]
		}
		n, err := f.z.Read(f.out[len(f.out):cap(f.out)])
		f.out = f.out[:len(f.out)+n]
		switch {
		case len(f.out) > room:
			return nil, errBomb
		case err == io.EOF:
			return f.out, nil
		case err != nil:
			return nil, err
		}
	}
}

// put gives the inflater back, without memory that a rare large message needed.
func (f *inflater) put() {
	if cap(f.out) > 256<<10 {
		f.out = nil
	}
	inflaters.Put(f)
}

// deflater compresses one message at a time, into memory of its own.
type deflater struct {
	z   *flate.Writer
	out bytes.Buffer
}

var deflaters = sync.Pool{New: func() any {
	z, _ := flate.NewWriter(nil, flate.BestSpeed) // the level is valid
	return &deflater{z: z}
}}

// deflate returns the compressed message, which is valid until the next call.
func (d *deflater) deflate(pieces [][]byte) ([]byte, error) {
	d.out.Reset()
	d.z.Reset(&d.out)
	for _, p := range pieces {
		if _, err := d.z.Write(p); err != nil {
			return nil, err
		}
	}
	if err := d.z.Flush(); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(d.out.Bytes(), []byte("\x00\x00\xff\xff")), nil
}

func (d *deflater) put() {
	if d.out.Cap() > 256<<10 {
		d.out = bytes.Buffer{}
	}
	deflaters.Put(d)
}
