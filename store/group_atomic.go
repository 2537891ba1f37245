package store

// What is special about an atomic push: it is accepted or refused as a whole, and what was begun of it is taken back.

type undoStep struct {
	head      *groupHead
	headState headState
	doc       *groupDoc
	docState  docState
}

// judgeAtomic judges an atomic push. One that does not fit beside what the group holds already is left to the next group,
// where it is alone; one that needs too much by itself is refused.
func (g *group) judgeAtomic(p *Push) (whole bool) {
	mark, before, refused := len(g.events), g.held, -1
	for i := range p.Mutations {
		v, fits := g.judgeOne(p, i, g.held > before || before > 0)
		if !fits && before > 0 {
			g.takeBack(mark)
			p.Verdicts = p.Verdicts[:0]
			return false
		}
		if !fits {
			v = refuse(CodeTooLarge, "the documents that this atomic push patches have more than %d bytes", g.s.opts.docs)
		}
		if v.Refusal != nil && refused < 0 {
			refused = i
		}
		p.Verdicts = append(p.Verdicts, v)
		if g.err != nil {
			return true
		}
	}
	g.finishAtomic(p, mark, refused)
	return true
}

// finishAtomic takes back a refused atomic push, or ties an accepted one together.
func (g *group) finishAtomic(p *Push, mark, refused int) {
	if refused < 0 {
		for i := mark; i < len(g.events)-1; i++ {
			g.events[i].Flags |= FlagMore
		}
		return
	}
	g.takeBack(mark)
	g.retell(p, refused)
	later := p.Verdicts[refused].Refusal.Code.Later()
	for i := range p.Verdicts {
		v := &p.Verdicts[i]
		switch {
		case v.Dup && v.Seq < g.next: // it was there before this push
		case later:
			*v = Verdict{Refusal: p.Verdicts[refused].Refusal}
		case p.Refused != nil && p.Refused[i] != nil: // keeps its own reason
		case i == refused:
		default:
			*v = Verdict{Refusal: aborted}
		}
	}
}

// takeBack undoes what the atomic push that began at a mark has done.
func (g *group) takeBack(mark int) {
	for _, u := range g.undo {
		if u.head != nil {
			u.head.headState = u.headState
		}
		if u.doc != nil {
			u.doc.docState = u.docState
		}
	}
	for _, e := range g.events[mark:] {
		delete(g.ids, e.ID)
	}
	g.next -= Seq(len(g.events) - mark)
	g.events, g.places = g.events[:mark], g.places[:mark]
}

// save keeps what an atomic push is about to change, the first time: a document that is patched a thousand times in one
// push is not kept a thousand times.
func (g *group) save(h *groupHead, d *groupDoc) {
	if !g.atomic {
		return
	}
	var u undoStep
	if h.saved != g.push {
		h.saved, u.head, u.headState = g.push, h, h.headState
	}
	if d != nil && d.saved != g.push {
		d.saved, u.doc, u.docState = g.push, d, d.docState
	}
	if u.head != nil || u.doc != nil {
		g.undo = append(g.undo, u)
	}
}

// retell makes the conflict that refused an atomic push tell what is there, not what the push would have made of it: a seq
// that was taken back goes to another event, and whoever expected it then would overwrite that one.
func (g *group) retell(p *Push, refused int) {
	if p.Verdicts[refused].Refusal.Code != CodeConflict || (p.Refused != nil && p.Refused[refused] != nil) {
		return
	}
	m := &p.Mutations[refused]
	h := g.head(m.Stream)
	var d *groupDoc
	if m.Key != "" {
		d = g.doc(m.Stream, m.Key)
	}
	if g.err == nil {
		p.Verdicts[refused].Refusal = g.conflict(h, d)
	}
}

var aborted = &Refusal{Code: CodeAborted, Message: "another mutation of this atomic push was refused"}
