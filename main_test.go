package main

import (
	"bytes"
	"log"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain puts this test binary into the path as "tidemark": scripts and crash tests run the real main.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tidemark": main, "spoil": spoil})
}

// TestScripts runs testdata/cli/*.txtar, each in a folder of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
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

// spoil is a command of scripts: it flips a bit of every event in a data file.
func spoil() {
	data, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	spoilt := bytes.ReplaceAll(data, []byte("room/1"), []byte("room/3"))
	if bytes.Equal(data, spoilt) {
		log.Fatal("nothing to spoil")
	}
	if err := os.WriteFile(os.Args[1], spoilt, 0o600); err != nil {
		log.Fatal(err)
	}
}
