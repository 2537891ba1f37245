// Package bench is the load generator behind "tidemark bench": one scenario per file, run against a server of its own in a
// child process, or against a given one. all.go and rows.go measure the table of docs/benchmarks.md.
//
// What a scenario is made of: start (bench.go) gives it a server on a fresh, a preloaded or a copied file; steady (steady.go)
// measures a rate while watch (watch.go) looks at the server; report (result.go) prints.
//
// Every acknowledgement counted is one that came after fsync, every delivery one whose place in the chain of its stream was
// checked. The generator shares the machine with the server, so figures include what it costs itself; docs/benchmarks.md
// says on which machine which figures were reached.
//
//	b := &bench.Bench{Common: common, Out: os.Stdout}
//	err := b.Run(ctx, &bench.Append{…})
//
// A scenario is a struct whose fields are its flags (kong reads them) and a Run method: it starts a server with a fresh file as
// often as it measures, loads it with the Go client, and reports Figures, for people or as JSON. A new scenario is a file here and a line
// in internal/cli/bench.go.
//
// # Guarantees
//
// Percentiles come from a histogram of fixed size, so that a long run takes no more memory than a short one. What a run created,
// its folder and its server, is gone when Run returns, also after an error.
//
// # Caveats
//
// Figures are for comparing and never decide a test. On a RAM disk fsync costs nothing and the figures of appends mean nothing:
// so the data files go to the working folder and not to the temporary one. With Common.Server the server's own figures (memory,
// counters) are not to be had, and its file is not fresh.
package bench
