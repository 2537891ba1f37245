// Package child runs a Tidemark server as a child process, for benchmarks and for tests that kill it: only a process of its
// own can be killed, restarted, and have its memory and its processor time read.
//
//	srv, err := child.Start(ctx, child.Options{Exe: exe, Data: path, Args: []string{"--retention-count", "1000"}})
//	…                      // clients use srv.URL
//	err = srv.Kill()       // SIGKILL: nothing is flushed, nobody is told
//	srv, err = child.Start(ctx, child.Options{Exe: exe, Data: path, Listen: address})
//	err = srv.Stop()       // SIGTERM: drains, exit code 0
//
// The binary is the one that runs (a benchmark starts itself), or Options.Exe: the tests of the whole program pass their own
// test binary, which is the program when it is called by that name.
//
// # Guarantees
//
// Start returns when the server has said where it listens, and not before: the log is open and recovered by then. If the server
// ends before that, the error holds the end of what it wrote to standard error. Kill and Stop return when the process is gone, so
// that its file and its port are free. Exited is closed whenever it goes, also by itself.
//
// # Caveats
//
// Who starts a server must Kill or Stop it: nothing else ends it. A Server belongs to one goroutine, but for Exited and what
// may be called after it. RSS and CPU read /proc and are 0 elsewhere than on Linux; RSS counts anonymous memory only, for the pages of
// the mapped data file are the kernel's to take back. Stats asks through the control socket beside the data file, which the server of
// another user does not open.
package child
