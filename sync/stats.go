package sync

import "sync/atomic"

// counters are the figures of an engine; Stats reads them.
type counters struct {
	eventFrames, delivered, sharedPages, logPages, smallPages, signals, signalsDropped, inWaits atomic.Int64
}

// Stats are figures since the start, and of now where they say so.
type Stats struct {
	Sessions       int   // now
	Topics         int   // filters that somebody follows, now
	EventFrames    int64 // frames of events handed out
	Delivered      int64 // events in them
	SharedPages    int64 // pages made of what was encoded before
	LogPages       int64 // pages read from the log and encoded
	SmallPages     int64 // pages that were made small, for a peer that stalls or because the budget is nearly spent
	CacheBytes     int64 // encoded pages kept, now
	BudgetBytes    int64 // on the way in or out, now
	BudgetWaits    int64 // frames that had to wait to come in
	BudgetParks    int64 // pages that had to wait to go out
	InWaits        int64 // messages that had to wait for a client to read its answers
	Signals        int64 // signals queued for a receiver
	SignalsDropped int64 // signals that a receiver was too slow for
	PresenceBytes  int64 // data of those who are present, now
	Takeovers      int64 // connections replaced by newer ones of the same client
}

// Stats returns the figures.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	sessions := len(e.sessions)
	e.mu.Unlock()
	e.budget.mu.Lock()
	budget, used := e.budget.stats, e.budget.used
	e.budget.mu.Unlock()
	c := &e.stats
	return Stats{
		Sessions: sessions, Topics: e.rules.registry.size(),
		EventFrames: c.eventFrames.Load(), Delivered: c.delivered.Load(), SharedPages: c.sharedPages.Load(), LogPages: c.logPages.Load(),
		SmallPages: c.smallPages.Load(),
		CacheBytes: e.cache.bytes(), BudgetBytes: used, BudgetWaits: budget.waits, BudgetParks: budget.parks, InWaits: c.inWaits.Load(),
		Signals: c.signals.Load(), SignalsDropped: c.signalsDropped.Load(), PresenceBytes: e.shown.used.Load(),
		Takeovers: e.clients.takeovers(),
	}
}
