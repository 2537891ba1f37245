package wire

import (
	"encoding/base64"
	"strconv"

	"tidemark/store"
)

// AppendEvent appends one event as JSON; withStream names its stream in it, as readers of several streams need. Of an
// erased event only its place is left.
func AppendEvent(dst []byte, e *store.Event, withStream bool) []byte {
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendUint(dst, uint64(e.Seq), 10)
	dst = append(dst, `,"prev":`...)
	dst = strconv.AppendUint(dst, uint64(e.Prev), 10)
	if withStream {
		dst = append(dst, `,"stream":`...)
		dst = AppendString(dst, string(e.Stream))
	}
	if e.Flags.Has(store.FlagStub) {
		return append(dst, `,"erased":true}`...)
	}
	dst = append(dst, `,"id":"`...)
	dst = e.ID.Append(dst)
	dst = append(dst, `","type":`...)
	if e.Type == "" {
		dst = append(append(append(dst, '"'), e.Op.String()...), '"')
	} else {
		dst = AppendString(dst, e.Type)
	}
	if e.Key != "" {
		dst = append(dst, `,"key":`...)
		dst = AppendString(dst, e.Key)
	}
	if e.Op != store.OpNone {
		dst = append(dst, `,"op":"`...)
		dst = append(dst, e.Op.String()...)
		dst = append(dst, '"')
	}
	dst = appendContent(dst, e)
	dst = append(dst, `,"at":`...)
	dst = strconv.AppendInt(dst, e.At, 10)
	if e.By != "" {
		dst = append(dst, `,"by":`...)
		dst = AppendString(dst, e.By)
	}
	return append(dst, '}')
}

func appendContent(dst []byte, e *store.Event) []byte {
	if e.Flags.Has(store.FlagBytes) {
		dst = append(dst, `,"data64":"`...)
		return append(base64.StdEncoding.AppendEncode(dst, e.Data), '"')
	}
	if e.Data == nil {
		return dst
	}
	dst = append(dst, `,"data":`...)
	return append(dst, e.Data...)
}

// AppendEvents appends events separated by commas: the inside of an array that frames of several subscribers can share.
func AppendEvents(dst []byte, evs []store.Event, withStream bool) []byte {
	for i := range evs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendEvent(dst, &evs[i], withStream)
	}
	return dst
}

// AppendDoc appends one document as it stands in a snapshot.
func AppendDoc(dst []byte, d *store.Doc, withStream bool) []byte {
	dst = append(dst, `{"key":`...)
	dst = AppendString(dst, d.Key)
	if withStream {
		dst = appendStringField(dst, "stream", string(d.Stream))
	}
	dst = appendUintField(dst, "seq", d.Seq)
	return append(appendDataField(dst, d.Data), '}')
}

// AppendDocs appends documents separated by commas.
func AppendDocs(dst []byte, docs []store.Doc, withStream bool) []byte {
	for i := range docs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendDoc(dst, &docs[i], withStream)
	}
	return dst
}
