// Package bench is the load generator behind "tidemark bench": one scenario per file, run against a server of its own in a
// child process, or against a given one. all.go and rows.go measure the table of docs/benchmarks.md.
//
// What a scenario is made of: start (bench.go) gives it a server on a fresh, a preloaded or a copied file; steady (steady.go)
// measures a rate while watch (watch.go) looks at the server; report (result.go) prints.
//
// Every acknowledgement counted is one that came after fsync, every delivery one whose place in the chain of its stream was
// checked. The generator shares the machine with the server, so figures include what it costs itself; docs/benchmarks.md
// says on which machine which figures were reached.
package bench
