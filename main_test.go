package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain puts this test binary into the path as "tidemark": scripts and crash tests run the real main.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tidemark": main})
}

// TestScripts runs testdata/cli/*.txtar, each in a folder of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/cli", RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"server": serverCommand},
	})
}

// serverCommand starts a server for the script, in the background and on a free port, and sets TIDEMARK_SERVER; "server
// stop" and "server kill" end it.
func serverCommand(ts *testscript.TestScript, _ bool, args []string) {
	switch {
	case len(args) == 1 && args[0] == "stop":
		ts.Check(scriptServers.take(ts).Stop())
	case len(args) == 1 && args[0] == "kill":
		ts.Check(scriptServers.take(ts).Kill())
	default:
		scriptServers.start(ts, args)
	}
}
