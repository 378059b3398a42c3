package event

import (
	"slices"
	"strings"
)

// Variable is a variable of a container's environment.
type Variable struct {
	Name string `json:"name"`
	// Value is absent where the environment takes it from another object.
	Value string `json:"value,omitempty"`
}

// commanding are the variables by which loaders, shells and interpreters load or
// run what they are told, in order. An environment holds secrets: of all others
// not even the name is kept.
var commanding = []string{
	"BASH_ENV", "ENV", "GCONV_PATH", "GIT_EXTERNAL_DIFF", "GIT_SSH_COMMAND", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS",
	"LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD", "NODE_OPTIONS", "PERL5LIB", "PERL5OPT", "PROMPT_COMMAND", "PYTHONPATH",
	"PYTHONSTARTUP", "PYTHONWARNINGS", "RUBYLIB", "RUBYOPT", "_JAVA_OPTIONS",
}

// variableMax bounds the value of a Variable, in bytes; what is longer is cut.
const variableMax = 4 << 10

// AppendVariable adds a variable when it is one that makes programs load or run
// something.
func AppendVariable(list []Variable, name, value string) []Variable {
	if _, ok := slices.BinarySearch(commanding, name); !ok || len(list) >= len(commanding) {
		return list
	}
	return append(list, Variable{name, value[:min(len(value), variableMax)]})
}

// VariableNames returns the names of an environment's variables, NAME=VALUE.
func VariableNames(env []string) []string {
	var out []string
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		out = append(out, name)
	}
	return out
}
