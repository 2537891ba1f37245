package sync_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
	eventsync "tidemark/sync"
)

var update = flag.Bool("update", false, "write what was said into the transcripts")

// TestTranscripts plays the conversations of testdata/*.txt. A line "a > {…}" is said by client a, "a < {…}" is what it
// hears, "a x 4005 replaced" how its connection ends; the other lines are stage directions, see stage.direct. What is heard
// is compared, and written with -update.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			synctest.Test(t, func(t *testing.T) { got = play(t, string(want)) })
			switch {
			case got == string(want):
			case *update:
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("%s: it went differently (-update writes it):\n%s", file, difference(string(want), got))
			}
		})
	}
}

func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		if i >= len(w) || i >= len(g) || w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant: %s\n got: %s", i+1, at(w, i), at(g, i))
		}
	}
	return ""
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}

// stage is a theatre with one engine over one log in memory.
type stage struct {
	t       *testing.T
	log     *memLog
	opts    eventsync.Options
	engine  *eventsync.Engine
	clients map[string]*actor
	left    []*actor
	nextID  int
	out     strings.Builder
}

func play(t *testing.T, script string) string {
	st := &stage{t: t, log: newMemLog(), clients: map[string]*actor{}, nextID: 100}
	st.opts = eventsync.Options{Encoder: wireEncoder{frame: 1 << 20}, Authenticate: tokens, Server: "tidemark/test"}
	for line := range strings.SplitSeq(strings.TrimSuffix(script, "\n"), "\n") {
		if heard.MatchString(line) {
			continue
		}
		fmt.Fprintln(&st.out, line)
		if line != "" && !strings.HasPrefix(line, "#") {
			st.line(line)
		}
	}
	for _, a := range st.clients {
		st.left = append(st.left, a)
	}
	for _, a := range st.left {
		a.leave()
	}
	synctest.Wait()
	return st.out.String()
}

// heard matches the lines that a play writes itself.
var heard = regexp.MustCompile(`^(\w+ (<|x|!) )|^\w+ … `)

func (st *stage) line(line string) {
	if name, said, ok := strings.Cut(line, " > "); ok {
		st.actor(name).say(st.expand(said))
	} else {
		st.direct(strings.Fields(line), line)
	}
	st.settle()
	st.listen()
}

// settle lets everybody who was called write, one after the other, until there is nothing left to do: what is heard does not
// depend on who was quicker.
func (st *stage) settle() {
	for again := true; again; {
		again = false
		synctest.Wait()
		for _, name := range st.names() {
			if st.clients[name].write() {
				again = true
				synctest.Wait()
			}
		}
	}
}

func (st *stage) names() []string {
	names := make([]string, 0, len(st.clients))
	for name := range st.clients {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// direct follows a stage direction.
func (st *stage) direct(w []string, line string) {
	bad := func() { st.t.Fatalf("no such stage direction: %s", line) }
	if len(w) < 2 {
		bad()
	}
	rest := strings.Join(w[2:], " ")
	switch w[0] + " " + w[1] {
	case "limits are":
		st.must(json.Unmarshal([]byte(rest), &st.opts.Limits))
	case "budget is":
		st.opts.Budget = int64(st.number(rest))
	case "apps must":
		name, version, _ := strings.Cut(w[3], "/")
		st.opts.MinApp = map[string]string{name: version}
	case "log writes":
		st.write(w[2], strings.Join(w[3:], " "))
	case "log holds":
		st.log.hold = true
	case "log commits":
		st.log.hold = false
		st.log.commit()
	case "log hides": // its commits are visible to readers before the engine is told
		st.log.quiet = true
	case "log tells":
		st.log.tell()
	case "log trims":
		st.log.trim(store.Seq(st.number(w[3])))
	case "log erases":
		st.log.erased = store.Seq(st.number(w[3]))
	case "log fails":
		st.log.failed = store.ErrFailed
	case "log stumbles":
		st.log.failed = &store.CorruptError{Seq: 1, Err: context.DeadlineExceeded}
	case "log recovers":
		st.log.failed = nil
	case "log fills":
		st.log.full = make(chan struct{})
	case "log drains":
		close(st.log.full)
		st.log.full = nil
	case "log pages":
		st.log.pageMax = st.number(w[3])
	case "time passes":
		d, err := time.ParseDuration(w[2])
		st.must(err)
		time.Sleep(d)
	case "server drains":
		go st.play().Drain(context.Background())
	case "server signals":
		st.play().Signal(store.Stream(w[2]), "the server", []byte(strings.Join(w[3:], " ")))
	default:
		a := st.actor(w[0])
		switch w[1] {
		case "connects":
			if len(w) > 3 {
				a.token = w[3]
			}
			a.connect(st.play())
		case "stops": // reading
			a.pause()
		case "reads":
			a.goOn()
		case "chokes": // on the next page: it is never written to the end
			a.mu.Lock()
			a.chokes = true
			a.mu.Unlock()
		case "stalls":
			a.session.Stalled(true)
		case "leaves":
			a.leave()
			st.left = append(st.left, a)
			delete(st.clients, w[0])
		default:
			bad()
		}
	}
}

func (st *stage) must(err error) {
	if err != nil {
		st.t.Fatal(err)
	}
}

func (st *stage) number(s string) int {
	n, err := strconv.Atoi(s)
	st.must(err)
	return n
}

// play makes the engine, when the first one needs it.
func (st *stage) play() *eventsync.Engine {
	if st.engine == nil {
		e, err := eventsync.New(st.log, st.opts)
		st.must(err)
		st.engine = e
	}
	return st.engine
}

// write appends events: "n × {…}" writes n of them.
func (st *stage) write(stream, text string) {
	n := 1
	if count, rest, ok := strings.Cut(text, " × "); ok {
		n, text = st.number(count), rest
	}
	for range n {
		d := wire.Decoder{Limits: wire.Limits{}.WithDefaults()}
		st.nextID++
		frame := fmt.Sprintf(`{"type":"push","stream":%q,"mutations":[%s]}`, stream, text)
		if !strings.Contains(text, `"id"`) {
			frame = strings.Replace(frame, `[{`, fmt.Sprintf(`[{"id":"%s",`, id(st.nextID)), 1)
		}
		m, fault := d.Decode([]byte(st.expand(frame)))
		if fault != nil {
			st.t.Fatal(fault)
		}
		p := &m.(*wire.Push).Push
		p.Done = func(*store.Push) {}
		st.must(st.log.Append(context.Background(), p))
	}
}

var shortID = regexp.MustCompile(`"#(\d+)"`)

// expand writes the ids and the padding of a transcript out; shorten is its opposite.
func (st *stage) expand(s string) string {
	s = times.ReplaceAllStringFunc(s, func(x string) string { return strings.Repeat("x", st.number(x[len("x×"):])) })
	return shortID.ReplaceAllStringFunc(s, func(x string) string {
		return `"` + id(st.number(x[2:len(x)-1])).String() + `"`
	})
}

var (
	longID = regexp.MustCompile(`00000000-0000-4000-8000-0{0,11}([1-9]\d*)`)
	after  = regexp.MustCompile(`"reconnect_after_ms":\d+`)
	padded = regexp.MustCompile(`x{40,}`)
	times  = regexp.MustCompile(`x×\d+`)
)

func (st *stage) shorten(s string) string {
	for name, a := range st.clients {
		if a.id != "" {
			s = strings.ReplaceAll(s, a.id, "session "+name)
		}
	}
	for _, a := range st.left {
		if a.id != "" {
			s = strings.ReplaceAll(s, a.id, "session "+a.name)
		}
	}
	s = strings.ReplaceAll(s, testLog.String(), "the log")
	s = after.ReplaceAllString(s, `"reconnect_after_ms":…`)
	s = padded.ReplaceAllStringFunc(s, func(x string) string { return fmt.Sprintf("x×%d", len(x)) })
	return longID.ReplaceAllString(s, "#$1")
}

// listen writes down what everybody heard, by name.
func (st *stage) listen() {
	for _, name := range st.names() {
		a := st.clients[name]
		a.mu.Lock()
		heard := append(a.heard, a.noticed...)
		a.heard, a.noticed = nil, nil
		a.mu.Unlock()
		for _, h := range heard {
			if a.id == "" { // sessions are called by their clients' names
				var w struct{ Type, Session string }
				if json.Unmarshal([]byte(strings.TrimPrefix(h, "< ")), &w) == nil && w.Type == "welcome" {
					a.id = w.Session
				}
			}
		}
		for _, h := range heard {
			fmt.Fprintf(&st.out, "%s %s\n", name, st.shorten(h))
		}
	}
}

// tokens knows the subjects of the plays: "alice", "alice:room/1" may only see that, "alice@60" for a minute, "bad" nothing.
func tokens(_ context.Context, token string) (eventsync.Principal, error) {
	if token == "bad" {
		return eventsync.Principal{}, &store.Refusal{Code: store.CodeUnauthorized, Message: "nobody knows that token"}
	}
	if token == "broken" {
		return eventsync.Principal{}, context.DeadlineExceeded
	}
	var p eventsync.Principal
	token, seconds, limited := strings.Cut(token, "@")
	if limited {
		n, _ := strconv.Atoi(seconds)
		p.Expires = time.Now().Add(time.Duration(n) * time.Second)
	}
	subject, only, some := strings.Cut(token, ":")
	p.Subject = subject
	if some {
		allowed, _ := store.ParseFilter(only)
		p.Allows = func(a eventsync.Action, f store.Filter) bool {
			return f == allowed && (a == eventsync.ActRead || !strings.HasSuffix(subject, "-reader"))
		}
	}
	return p, nil
}

// actor is one client: a goroutine that hands its messages in, and one that writes while there is something to write.
type actor struct {
	st      *stage
	name    string
	token   string
	id      string
	session *eventsync.Session
	decoder wire.Decoder
	inbox   chan eventsync.Message
	waiting bool
	paused  chan struct{} // closed when the client reads again
	chokes  bool
	called  bool

	mu      sync.Mutex
	heard   []string
	noticed []string // how its messages fare; written down last, for that happens beside what is heard
	wg      sync.WaitGroup
}

func (st *stage) actor(name string) *actor {
	a := st.clients[name]
	if a == nil {
		a = &actor{st: st, name: name}
		st.clients[name] = a
	}
	return a
}

func (a *actor) connect(e *eventsync.Engine) {
	a.decoder.Limits = wire.Limits(a.st.opts.Limits.WithDefaults())
	a.inbox = make(chan eventsync.Message, 1000)
	a.session = e.Connect(a.wake, a.token)
	a.wg.Go(a.receive)
}

func (a *actor) wake() {
	a.mu.Lock()
	a.called = true
	a.mu.Unlock()
}

// write starts the writer, if it was called.
func (a *actor) write() bool {
	a.mu.Lock()
	called := a.called
	a.called = false
	a.mu.Unlock()
	if called {
		a.wg.Go(a.pump)
	}
	return called
}

func (a *actor) pump() {
	for {
		a.mu.Lock()
		paused := a.paused
		a.mu.Unlock()
		if paused != nil {
			<-paused
		}
		f, ok := a.session.Next()
		if !ok {
			return
		}
		a.hear(f)
	}
}

func (a *actor) hear(f eventsync.Frame) {
	var text []byte
	for _, p := range f.Pieces {
		text = append(text, p...)
	}
	line := "< " + string(text)
	if f.End != eventsync.EndNone {
		line = fmt.Sprintf("x %d %s", closes[f.End].Code, closes[f.End].Reason)
	} else if !json.Valid(text) {
		line = "! this is no JSON: " + string(text)
	}
	a.mu.Lock()
	a.heard = append(a.heard, line)
	choke := a.chokes && strings.HasPrefix(line, `< {"type":"events"`)
	a.mu.Unlock()
	if choke {
		a.pause()
	}
}

func (a *actor) notice(line string) {
	a.mu.Lock()
	a.noticed = append(a.noticed, line)
	a.mu.Unlock()
}

func (a *actor) receive() {
	inbox := a.inbox
	for m := range inbox {
		err := a.session.Receive(m)
		a.mu.Lock()
		waited := a.waiting
		a.waiting = false
		a.mu.Unlock()
		if err != nil {
			a.notice("… is no longer read")
			for range inbox {
			}
			return
		}
		if waited {
			a.notice("… is read on")
		}
	}
}

// say hands a message in, once or "n × " times.
func (a *actor) say(text string) {
	if a.session == nil {
		a.connect(a.st.play())
	}
	n := 1
	if count, rest, ok := strings.Cut(text, " × "); ok {
		n, text = a.st.number(count), rest
	}
	for range n {
		a.inbox <- fromWire(&a.decoder, []byte(text))
		a.st.settle()
	}
	if len(a.inbox) > 0 {
		a.mu.Lock()
		defer a.mu.Unlock()
		if !a.waiting {
			a.waiting = true
			a.noticed = append(a.noticed, "… has to wait")
		}
	}
}

func (a *actor) pause() {
	a.mu.Lock()
	a.paused = make(chan struct{})
	a.mu.Unlock()
}

func (a *actor) goOn() {
	a.mu.Lock()
	if a.paused != nil {
		close(a.paused)
		a.paused = nil
	}
	a.chokes = false
	a.mu.Unlock()
}

func (a *actor) leave() {
	if a.session == nil {
		return
	}
	a.session.Close()
	a.goOn()
	if a.inbox != nil {
		close(a.inbox)
		a.inbox = nil
	}
	a.wg.Wait()
}
