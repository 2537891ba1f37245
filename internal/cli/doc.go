// Package cli is the command line: one file for each command.
//
// Main parses the arguments with kong: flags, then environment variables (TIDEMARK_ and the flag's name), then, for serve, a
// TOML file, then defaults. What the server is made of comes from main, as a Builder, so that this package knows commands
// and not composition.
//
// Results go to standard output, everything about the way there to standard error; progress only when that is a terminal.
// The exit codes are documented in docs/operations.md.
//
//	func main() { os.Exit(cli.Main(build)) }
//
// # Where things are
//
// Each command is a struct whose fields are its flags and whose Run method does it (serve.go, push.go, tail.go …). serve.go has the
// settings of the server and its life: open, listen, drain within ten seconds, close. control.go is the socket beside the data file,
// through which commands of the same user reach a running server: a backup is made there, because one process has the file open.
// Commands that speak to clients' endpoints (push, tail, docs, streams) are clients like any other and use package client or HTTP.
//
// # Guarantees
//
// A command that was told to stop (SIGINT, SIGTERM) ends what it does in an orderly way. Nothing replaces an existing file. serve
// listens on loopback unless authentication or --insecure allows more. When the disk has failed, serve ends with a code of its own
// and the next start verifies the file in another process first (recover.go).
//
// # Caveats
//
// The grammar is parsed by reflection, so a flag's name, default and help are tags of its field: the scripts in testdata/cli are
// what holds them. Flags are part of what users build on; renaming one needs a line in the changelog.
package cli
