package settings

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// flagKind is how the values of a flag are read.
type flagKind uint8

const (
	textFlag flagKind = iota
	boolFlag          // may stand without a value
	listFlag          // its values add up
)

// parseFlags reads a command line of a program of Kubernetes, without the program's
// name: the flags of known that are set, lists joined by commas. Of a flag that comes
// twice the last value counts, and an underscore in its name is a hyphen. Flags that
// are not known are passed over.
func parseFlags(args []string, known map[string]flagKind) (map[string]string, error) {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.ParseErrorsAllowlist.UnknownFlags = true
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
	})
	lists := make(map[string]*[]string)
	for name, kind := range known {
		switch kind {
		case boolFlag:
			fs.Bool(name, false, "")
		case listFlag:
			lists[name] = fs.StringSlice(name, nil, "")
		case textFlag:
			fs.String(name, "", "")
		}
	}
	if err := fs.Parse(args); err != nil {
		return nil, fmt.Errorf("command line: %w", err)
	}
	out := make(map[string]string)
	fs.Visit(func(f *pflag.Flag) {
		out[f.Name] = f.Value.String()
		if list := lists[f.Name]; list != nil {
			out[f.Name] = strings.Join(*list, ",")
		}
	})
	return out, nil
}

// split returns the elements of a list in a flag.
func split(value string) []string {
	var out []string
	for s := range strings.SplitSeq(value, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// gates reads --feature-gates. Those of one component, "component:Name=true", count
// as well; what is not understood is left out.
func gates(value string) map[string]bool {
	out := make(map[string]bool)
	for _, s := range split(value) {
		if _, after, ok := strings.Cut(s, ":"); ok {
			s = after
		}
		name, v, _ := strings.Cut(s, "=")
		if on, err := strconv.ParseBool(v); err == nil {
			out[name] = on
		}
	}
	return out
}
