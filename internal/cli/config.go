package cli

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/alecthomas/kong"
)

// tomlFile resolves flags of serve from a TOML file: keys are the flags' names; tables join theirs with a hyphen, so
// retention-age may also be written as age in [retention].
type tomlFile map[string]any

func tomlConfig(r io.Reader) (kong.Resolver, error) {
	var tree map[string]any
	if _, err := toml.NewDecoder(r).Decode(&tree); err != nil {
		return nil, err
	}
	f := tomlFile{}
	f.flatten("", tree)
	return f, nil
}

func (f tomlFile) flatten(prefix string, tree map[string]any) {
	for name, v := range tree {
		name = prefix + strings.ReplaceAll(name, "_", "-")
		if table, ok := v.(map[string]any); ok {
			f.flatten(name+"-", table)
			continue
		}
		f[name] = v
	}
}

// Validate refuses keys that are no flags of serve, for a misspelt limit is a missing limit.
func (f tomlFile) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, cmd := range app.Children {
		if cmd.Name == "serve" {
			for _, flag := range cmd.Flags {
				known[flag.Name] = flag.Name != "config"
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if !known[name] {
			return fmt.Errorf("configuration file: %q is not a setting of serve", name)
		}
	}
	return nil
}

// Resolve returns the value of a flag; nil when the file has none, or the environment has one, which counts more.
func (f tomlFile) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	if parent.Command == nil || parent.Command.Name != "serve" {
		return nil, nil
	}
	for _, env := range flag.Envs {
		if _, ok := os.LookupEnv(env); ok {
			return nil, nil
		}
	}
	switch v := f[flag.Name].(type) {
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = kong.JoinEscaped([]string{fmt.Sprint(v[i])}, ',')
		}
		return strings.Join(parts, ","), nil
	default:
		return v, nil
	}
}

// byteSize is a number of bytes that people write as "64MiB".
type byteSize int64

var byteUnits = []struct {
	name string
	size int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}}

// UnmarshalText reads "64MiB", "1.5GB" or a bare number of bytes.
func (b *byteSize) UnmarshalText(text []byte) error {
	s, unit := strings.TrimSpace(string(text)), int64(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || n < 0 || n*float64(unit) > 1<<62 {
		return fmt.Errorf("%q is not a size like 64MiB", text)
	}
	*b = byteSize(n * float64(unit))
	return nil
}

// String returns the size with the largest binary unit that divides it.
func (b byteSize) String() string {
	for _, u := range []int{3, 2, 1, 0} {
		if size := byteUnits[u].size; int64(b) >= size && int64(b)%size == 0 {
			return fmt.Sprintf("%d%s", int64(b)/size, byteUnits[u].name)
		}
	}
	return fmt.Sprintf("%dB", int64(b))
}
