// Package auth turns tokens into principals. It is the one place that decides who somebody is and what they may do: the
// engine and the HTTP API are given one Authenticator and ask nobody else.
//
//	engine, err := eventsync.New(log, eventsync.Options{Authenticate: auth.Everybody(), …})
//	api, err := httpapi.New(httpapi.Options{Authenticate: auth.Everybody(), …})
//
// So far there is one: Everybody, for servers that only their own machine can reach. The command line refuses to listen
// anywhere else with it, unless the operator insists (--insecure).
//
// # What an Authenticator must do
//
// It is called once per connection, for each "auth" message and for each HTTP request, with the token as it was sent, "" when there
// was none. It returns a Principal, or a *store.Refusal with the code unauthorized or token_expired when the token is bad. Any
// other error means that the server could not tell: it is logged, the client is told "internal", and comes again. It may
// take its time; the context ends when the connection does.
//
// A Principal's Allows is asked for every mutation, subscription and signal, concurrently: it must be quick and do no I/O.
//
// # Guarantees
//
// Who may not write to a stream has each such mutation refused before the log sees it; who may not read it gets neither its events
// nor its documents, not even with a conflict. A Principal that has expired ends its connection.
//
// # Caveats
//
// Everybody is nobody in particular: events have no "by", and limits per caller cannot tell callers apart by name.
package auth
