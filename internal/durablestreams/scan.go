package durablestreams

import (
	"errors"

	"tidemark/store"
)

// scan reads a stream forward through its segments, page by page.
type scan struct {
	log      Log
	segments []segment
	after    store.Seq
}

// next returns the next page; More tells whether there is more to read now. Segments that are short share a page.
func (s *scan) next(lim store.PageLimit) (out store.Page, err error) {
	for size := 0; size < store.DefaultPage; {
		page, err := s.part(lim)
		if err != nil && len(out.Events) > 0 {
			return out, nil // it comes again, when the next page is read
		}
		if err != nil {
			return page, err
		}
		for i := range page.Events {
			size += len(page.Events[i].Data)
		}
		out.Events = append(out.Events, page.Events...)
		if out.More = page.More; page.More && len(out.Events) > 0 {
			return out, nil
		}
		if !page.More {
			if len(s.segments) == 1 {
				return out, nil
			}
			s.segments, out.More = s.segments[1:], true
		}
	}
	return out, nil
}

// part reads a page of the first segment that is not read yet.
func (s *scan) part(lim store.PageLimit) (store.Page, error) {
	for len(s.segments) > 1 && s.segments[0].To <= s.after {
		s.segments = s.segments[1:]
	}
	seg := s.segments[0]
	page, err := s.log.Read(store.Only(seg.Stream), max(s.after, seg.From), lim)
	if err != nil {
		return page, err
	}
	cutAt(&page, seg.To)
	s.after = min(page.Through, seg.To)
	return page, nil
}

// cutAt takes what lies above to out of the page.
func cutAt(page *store.Page, to store.Seq) {
	n := len(page.Events)
	for n > 0 && page.Events[n-1].Seq > to {
		n--
	}
	if n < len(page.Events) || page.Through >= to {
		page.More = false
	}
	page.Events = page.Events[:n]
}

// beginning reads from the beginning of what the log still has: of a stream without an offset to keep to, what was trimmed
// is simply no longer there.
func (s *scan) beginning(lim store.PageLimit) (store.Page, error) {
	for {
		page, err := s.next(lim)
		trimmed, ok := errors.AsType[*store.TrimmedError](err)
		if !ok {
			return page, err
		}
		s.after = trimmed.Floor
	}
}
