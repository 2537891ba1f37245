package sync

import (
	"sort"

	"tidemark/store"
)

// presence is who is present on one stream, in the order of the last change. Each change has a version, and a receiver is
// nothing but the version up to which it was told: however slow it is, it costs no memory, and gets the latest of each.
// Guarded by topic.mu.
type presence struct {
	version uint64
	latest  map[store.ID]*member // the last change of everybody in changes, of those who left, too
	changes []*member            // ascending by version; what the same member overtook is void
	void    int
	gone    int    // how many of latest have left
	lost    uint64 // at this version the last of those was forgotten: who was told less begins anew
}

// member is the newest change of one member.
type member struct {
	Member
	version uint64
	gone    bool
	void    bool
}

// goneKept is how many who left are remembered for receivers that have not been told.
const goneKept = 256

// set makes m present, or changes its data; gone tells that it left. It returns by how many bytes the data grew, and false
// when that would be one member more than limit.
func (p *presence) set(m Member, gone bool, limit int) (grown int, ok bool) {
	have := p.latest[m.Session]
	absent := have == nil || have.gone
	if absent && gone {
		return 0, true
	}
	if absent && len(p.latest)-p.gone >= limit {
		return 0, false
	}
	if have != nil {
		grown -= len(have.Data)
		p.voided(have)
	}
	p.version++
	now := &member{Member: m, version: p.version, gone: gone}
	if gone {
		now.Data = nil
		p.gone++
	}
	if p.latest == nil {
		p.latest = make(map[store.ID]*member)
	}
	p.latest[m.Session] = now
	p.changes = append(p.changes, now)
	p.compact()
	return grown + len(now.Data), true
}

func (p *presence) voided(m *member) {
	m.void, m.Data = true, nil
	p.void++
	if m.gone {
		p.gone--
	}
}

// compact drops what is void, and the oldest of those who left when they are too many.
func (p *presence) compact() {
	if p.void <= len(p.changes)/2 && p.gone <= 2*goneKept {
		return
	}
	drop := 0
	if p.gone > goneKept {
		drop = p.gone - goneKept
	}
	kept := p.changes[:0]
	for _, c := range p.changes {
		switch {
		case c.void:
		case c.gone && drop > 0:
			drop--
			p.gone--
			p.lost = c.version
			delete(p.latest, c.Session)
		default:
			kept = append(kept, c)
		}
	}
	clear(p.changes[len(kept):])
	p.changes, p.void = kept, 0
}

// told is how much of a stream's presence a receiver has been told.
type told struct {
	version uint64
	since   uint64 // the version at which the full list was begun: who left before that is no news
	begun   bool
}

// next returns what the receiver has not been told, about limit bytes of it; nil: nothing.
func (p *presence) next(t *told, self store.ID, limit int) *Presence {
	if !t.begun || max(t.version, t.since) < p.lost {
		*t = told{since: p.version}
	} else if t.version == p.version {
		return nil
	}
	out := &Presence{Full: !t.begun}
	t.begun = true
	i := sort.Search(len(p.changes), func(i int) bool { return p.changes[i].version > t.version })
	for size := 0; i < len(p.changes); i++ {
		c := p.changes[i]
		n := memberSize + len(c.By) + len(c.Data)
		if size > 0 && size+n > limit {
			return out
		}
		t.version = c.version
		if c.void || c.Session == self {
			continue
		}
		size += n
		switch {
		case !c.gone:
			out.Set = append(out.Set, c.Member)
		case !out.Full:
			out.Gone = append(out.Gone, c.Session)
		}
	}
	t.version = p.version
	if len(out.Set)+len(out.Gone) == 0 && !out.Full {
		return nil
	}
	return out
}

// memberSize is about what a member takes on the wire beside its name and data.
const memberSize = 80
