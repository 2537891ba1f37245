package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"tidemark/client"
	"tidemark/store"
)

// The exit codes.
const (
	exitOK       = 0
	exitError    = 1
	exitUsage    = 2
	exitFailStop = 3 // the server stopped itself after a failure of the disk; see the marker file beside the data file
)

// commands is the grammar of the command line.
type commands struct {
	Serve   serveCmd   `cmd:"" default:"withargs" help:"Run the server. This is what happens without a command, too."`
	Push    pushCmd    `cmd:"" help:"Append mutations to a stream, from arguments or NDJSON on standard input."`
	Tail    tailCmd    `cmd:"" help:"Print the events of a stream, of everything below a name (room/**), or of all (**), as they come."`
	Docs    docsCmd    `cmd:"" help:"Print the documents of a stream, or one of them, now or as of a seq."`
	Streams streamsCmd `cmd:"" help:"List the streams."`
	Check   checkCmd   `cmd:"" help:"Verify every invariant of a data file."`
	Backup  backupCmd  `cmd:"" help:"Copy a data file consistently, while a server is writing to it, too."`
	Restore restoreCmd `cmd:"" help:"Make a data file from a backup, as a new log, whole or up to a seq."`
	Bench   benchCmd   `cmd:"" help:"Measure a server."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// system is what the commands have of the world around them.
type system struct {
	in       *os.File
	out, err io.Writer
	build    Builder
}

// Main runs the command line of this process and returns its exit code.
func Main(build Builder) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the next signal ends the process at once
	sys := &system{in: os.Stdin, out: os.Stdout, err: os.Stderr, build: build}
	return run(ctx, sys, os.Args[1:])
}

// exited carries kong's wish to exit (after --help) through the stack.
type exited int

func run(ctx context.Context, sys *system, args []string) (code int) {
	defer func() {
		if v := recover(); v != nil {
			e, ok := v.(exited)
			if !ok {
				panic(v)
			}
			code = int(e)
		}
	}()
	var cmds commands
	parser := kong.Must(&cmds,
		kong.Name("tidemark"),
		kong.Description("Tidemark: an event log that clients sync from. One binary, one file."),
		kong.DefaultEnvars("TIDEMARK"),
		kong.Configuration(tomlConfig),
		kong.Writers(sys.out, sys.err),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
	)
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(sys.err, "tidemark: %v\nTry: tidemark --help\n", err)
		return exitUsage
	}
	k.BindTo(ctx, (*context.Context)(nil))
	k.Bind(sys, &cmds)
	return sys.exit(k.Run())
}

// errQuiet ends a command with exitError when everything was said already.
var errQuiet = errors.New("failed")

// usageError is an error about how the command was called.
type usageError struct{ error }

// BadSetting marks an error of a Builder that only another setting will help.
func BadSetting(err error) error { return usageError{err} }

func usagef(format string, a ...any) error { return usageError{fmt.Errorf(format, a...)} }

// exit says why a command failed and returns the exit code.
func (sys *system) exit(err error) int {
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errQuiet) {
		return exitError
	}
	fmt.Fprintf(sys.err, "tidemark: %s\n", plainLines(err.Error()))
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if errors.Is(err, store.ErrFailed) {
		return exitFailStop
	}
	return exitError
}

// remote says which server a command talks to.
type remote struct {
	Server string `default:"http://127.0.0.1:8080" help:"URL of the server." placeholder:"URL"`
	Token  string `help:"Token to authenticate with."`
}

// client returns a client that tells the user, on standard error, when it loses the connection and when it has it back.
func (r *remote) client(sys *system) (*client.Client, error) { return r.clientWith(tellState(sys)) }

// clientWith returns a client that calls onState when the connection changes.
func (r *remote) clientWith(onState func(client.State)) (*client.Client, error) {
	o := client.Options{URL: r.Server, App: "tidemark-cli/" + Version, OnState: onState}
	if r.Token != "" {
		o.Token = func(context.Context, client.TokenReason) (string, error) { return r.Token, nil }
	}
	c, err := client.New(o)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

func tellState(sys *system) func(client.State) {
	lost := false
	return func(s client.State) {
		switch s.Phase {
		case client.Waiting:
			lost = true
			fmt.Fprintf(sys.err, "tidemark: not connected: %s; next try in %.1fs\n", plainLines(fmt.Sprint(s.Err)), s.Wait.Seconds())
		case client.Connected:
			if lost {
				fmt.Fprintf(sys.err, "tidemark: connected again\n")
			}
			lost = false
		}
	}
}
