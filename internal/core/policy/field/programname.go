package field

import (
	"slices"
	"strings"
)

// multicall are executables that are many programs: which one, their first
// argument says, or the second where the first is the executable's own name.
var multicall = []string{"busybox", "toybox", "coreutils"}

// calledName returns which program it is: the name of the file that the kernel
// executed, of an executable that is many programs that of the one, and on
// Windows without .exe. It is "" where the file is not known.
func (p *Program) calledName() string {
	name := baseName(p.exe)
	if !slices.Contains(multicall, name) || p.joined {
		return name
	}
	for _, a := range p.argv[:min(2, len(p.argv))] {
		if applet := strings.TrimPrefix(baseName(a), "-"); applet != name { // a login shell has a dash before its name
			return applet
		}
	}
	return name
}

// baseName returns the last part of a path of either kind.
func baseName(path string) string {
	windows := strings.Contains(path, `\`) && !strings.Contains(path, "/")
	if !windows {
		return path[strings.LastIndexByte(path, '/')+1:]
	}
	name := path[strings.LastIndexByte(path, '\\')+1:]
	if ext := len(name) - len(".exe"); ext > 0 && strings.EqualFold(name[ext:], ".exe") {
		name = name[:ext]
	}
	return strings.ToLower(name)
}
