package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version of this program; servers name it in their welcome.
const Version = "0.1.0"

type versionCmd struct{}

// Run prints the version, the commit that it was built from, and the platform.
func (*versionCmd) Run(sys *system) error {
	fmt.Fprintf(sys.out, "tidemark %s%s %s %s/%s\n", Version, commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+"
			}
		}
	}
	if revision == "" {
		return ""
	}
	return " (" + revision + dirty + ")"
}
