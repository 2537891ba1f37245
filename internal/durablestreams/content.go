package durablestreams

import (
	"bytes"
	"net/http"

	"tidemark/store"
)

// messageType is the type of the events that come from here.
const messageType = "message"

// messages makes events of a body: of a JSON stream one per value, an array at the top being a batch of values; of others
// the bytes, in pieces that the log takes.
func (c *call) messages(contentType string, body []byte) ([]store.Mutation, error) {
	if isJSON(contentType) {
		list, err := c.values(body)
		if err == nil && len(list) == 0 {
			err = badRequest("the batch is empty")
		}
		return list, err
	}
	var list []store.Mutation
	for len(body) > 0 {
		n := min(len(body), c.MaxMessage)
		list = append(list, store.Mutation{ID: store.NewID(), Type: messageType, Bytes: true, Data: body[:n:n]})
		body = body[n:]
	}
	return list, nil
}

// values reads a JSON body: the values of an array, or one value.
func (c *call) values(body []byte) (list []store.Mutation, err error) {
	text, rest, err := store.CompactValue(make([]byte, 0, len(body)), body)
	if err != nil || len(bytes.TrimLeft(rest, " \t\r\n")) > 0 {
		return nil, badRequest("the body is not one JSON value")
	}
	if text[0] != '[' {
		return c.addValue(nil, text)
	}
	for text = text[1:]; text[0] != ']'; {
		n := valueLen(text)
		if list, err = c.addValue(list, text[:n:n]); err != nil {
			return nil, err
		}
		if text = text[n:]; text[0] == ',' {
			text = text[1:]
		}
	}
	return list, nil
}

func (c *call) addValue(list []store.Mutation, value []byte) ([]store.Mutation, error) {
	if len(value) > c.MaxMessage || len(list) >= c.MaxMessages {
		return nil, refuse(http.StatusRequestEntityTooLarge, string(store.CodeTooLarge), "a message, or their number, is larger than the server takes")
	}
	return append(list, store.Mutation{ID: store.NewID(), Type: messageType, Data: value}), nil
}

// valueLen returns the length of the value that well-formed compact JSON inside of an array begins with.
func valueLen(s []byte) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			i += stringLen(s[i:]) - 1
		case '[', '{':
			depth++
		case ']', '}':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(s)
}

// stringLen returns the length of the string that s begins with, quotes included.
func stringLen(s []byte) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// belongs reports whether an event is a message of a stream of this kind, whoever wrote it.
func belongs(e *store.Event, json bool) bool {
	return !e.Flags.Has(store.FlagStub) && e.Flags.Has(store.FlagBytes) != json
}

// appendMessages appends the messages among the events: JSON values with commas between them, or bytes. first tells
// whether nothing stands before them.
func appendMessages(dst []byte, events []store.Event, json, first bool) []byte {
	for i := range events {
		e := &events[i]
		if !belongs(e, json) {
			continue
		}
		if json && !first {
			dst = append(dst, ',')
		}
		first = false
		if json && e.Data == nil { // an event without data, written in another way
			dst = append(dst, "null"...)
		}
		dst = append(dst, e.Data...)
	}
	return dst
}
