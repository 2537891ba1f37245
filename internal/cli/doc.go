// Package cli is the command line: one file for each command.
//
// Main parses the arguments with kong: flags, then environment variables (TIDEMARK_ and the flag's name), then, for serve, a
// TOML file, then defaults. What the server is made of comes from main, as a Builder, so that this package knows commands
// and not composition.
//
// Results go to standard output, everything about the way there to standard error; progress only when that is a terminal.
// The exit codes are documented in docs/operations.md.
package cli
