package bench

import "time"

// row is a line of the table of results: a scenario with its parameters.
type row struct {
	name     string // for --only
	scenario Scenario
	ids      string // "": v7
	payload  int    // 0: 200
	large    bool   // on a file that holds large events
	memory   int64  // bytes of a control group for the server
	ramDisk  bool   // on a RAM disk
}

// sizes are how long and with how much the rows measure.
type sizes struct {
	rate                  time.Duration // of each rate
	settle                time.Duration
	replay, start, growth int // events
	behind                int
	large                 int   // events of a large file
	many, crowd, mob      int   // connections
	wide, wider           int   // streams
	storms                []int // clients
	fans                  []int // subscribers
	arrivals, perSecond   int
	rounds, looks         int
	pass, warm            int
	http, messages        int
	small                 int
	probes                int // fdatasyncs before and after each row
}

var fullSizes = sizes{
	rate: time.Minute, settle: 5 * time.Second, replay: 1_000_000, start: 1_000_000, growth: 5_000_000, behind: 20_000,
	large: 10_000_000, many: 256, crowd: 5000, mob: 1000, wide: 1000, wider: 10_000, storms: []int{1000, 5000},
	fans: []int{100, 1000, 5000}, arrivals: 200, perSecond: 50, rounds: 5, looks: 200, pass: 300, warm: 64, http: 128, messages: 1_000_000, small: 10_000, probes: 500,
}

// quickSizes show in seconds that every row works. Their figures mean nothing.
var quickSizes = sizes{
	rate: 60 * time.Millisecond, settle: 200 * time.Millisecond, replay: 2000, start: 1000, growth: 3000, behind: 200,
	large: 3000, many: 4, crowd: 8, mob: 4, wide: 10, wider: 20, storms: []int{4},
	fans: []int{2, 4}, arrivals: 2, perSecond: 20, rounds: 1, looks: 10, pass: 1, warm: 1, http: 4, messages: 1000, small: 200, probes: 5,
}

// smallMemory is the control group of the rows that show what a small machine can do.
const smallMemory = 512 << 20

// rows returns the table of docs/benchmarks.md.
func (z *sizes) rows() []row {
	appends := func(clients, outstanding, streams int) *Append {
		return &Append{Clients: clients, Outstanding: outstanding, Streams: streams, Duration: z.rate}
	}
	replay := &Replay{Events: z.replay, Others: z.wide, Share: 10, Rounds: z.looks}
	storm := &Storm{Clients: z.storms, Missed: 100, Streams: []int{1, z.wide}}
	start := &Start{Events: z.start, Behind: z.behind, Rounds: z.rounds}
	growth := &Growth{Small: z.small, Events: z.growth, Streams: z.wide, Rounds: max(z.rounds, 2), Duration: z.rate}
	return []row{
		{name: "append", scenario: appends(16, 64, 1)},
		{name: "append-v4", scenario: appends(16, 64, 1), ids: "v4"},
		{name: "append-ram", scenario: &Append{Clients: 16, Outstanding: 64, Streams: 1, Duration: z.rate / 4}, ramDisk: true},
		{name: "append-wide", scenario: appends(16, 64, z.wide)},
		{name: "append-wider", scenario: appends(16, 64, z.wider)},
		{name: "append-many", scenario: appends(z.many, 1, 1)},
		{name: "latency", scenario: &Latency{Duration: z.rate}},
		{name: "replay", scenario: replay},
		{name: "fanout", scenario: &Fanout{Subscribers: z.fans, Outstanding: 64, Duration: z.rate}},
		{name: "arrival", scenario: &Arrival{Subscribers: z.arrivals, Rate: z.perSecond, Warm: z.perSecond, Duration: z.rate}},
		{name: "storm", scenario: storm},
		{name: "start", scenario: start},
		{name: "idle", scenario: &Idle{Connections: z.crowd, Settle: z.settle}},
		{name: "stopped", scenario: &Stopped{Readers: 1, Pass: z.pass, Warm: z.warm, Large: 10_000}},
		{name: "growth", scenario: growth},
		{name: "growth-v4", scenario: growth, ids: "v4"},
		{name: "http", payload: 256,
			scenario: &HTTP{Writers: z.http, Streams: z.http, Messages: z.messages, Readers: z.mob, Rate: 2 * z.perSecond, Settle: z.settle, Duration: z.rate}},
		{name: "large-append", scenario: appends(16, 64, 1), large: true},
		{name: "large-replay", scenario: replay, large: true},
		{name: "large-storm", scenario: storm, large: true},
		{name: "large-start", scenario: start, large: true},
		{name: "large-small-memory", scenario: appends(16, 64, 1), large: true, memory: smallMemory},
		{name: "small-memory", scenario: appends(16, 64, 1), memory: smallMemory},
		{name: "small-memory-replay", scenario: replay, large: true, memory: smallMemory},
		{name: "small-memory-start", scenario: start, large: true, memory: smallMemory},
		{name: "large-append-v4", scenario: appends(16, 64, 1), ids: "v4", large: true},
		{name: "large-small-memory-v4", scenario: appends(16, 64, 1), ids: "v4",
			large: true, memory: smallMemory},
	}
}
