package condition

import (
	"errors"
	"strings"

	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
)

// costMax is what one evaluation of one condition may cost, in the units of
// CEL's cost model: about one for a field or a comparison, more for long texts.
// It is a few milliseconds.
const costMax = 200_000

// ErrCost says that a condition would have cost more than it may.
var ErrCost = errors.New("the condition costs more than it may")

// sizes bounds the inputs of conditions for the estimate of their cost: of those
// that are usual, as Scope.usual has it, or of all.
type sizes struct {
	usual  bool
	locals []source // variables of comprehensions around what is estimated
}

// The bounds: names and paths are short; a command is as long as somebody likes.
const (
	nameSize    = 4 << 10
	commandSize = 4 << 20
	listSize    = 64 << 10

	usualName    = 256
	usualCommand = 2 << 10
	usualList    = 32
)

// EstimateSize implements cost.Estimator.
func (z sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	name, command, list := uint64(nameSize), uint64(commandSize), uint64(listSize)
	if z.usual {
		name, command, list = usualName, usualCommand, usualList
	}
	p := n.Path()
	for _, l := range z.locals {
		if len(p) > 0 && p[0] == l.name {
			p = append([]string{l.path}, p[1:]...)
		}
	}
	switch n.Type().Kind() {
	case types.ListKind, types.MapKind:
		return &cost.SizeEstimate{Max: list}
	case types.StringKind:
		if strings.Contains(strings.Join(p, "."), "argv") || len(p) > 0 && (p[len(p)-1] == "command" || p[len(p)-1] == "path") {
			return &cost.SizeEstimate{Max: command}
		}
		return &cost.SizeEstimate{Max: name}
	default:
		return nil
	}
}

// EstimateCallCost implements cost.Estimator: the functions of this package look
// at every byte of every pattern.
func (z sizes) EstimateCallCost(function, _ string, target *cost.AstNode, args []cost.AstNode) *cost.CallEstimate {
	switch function {
	case "like", "within", "ilike", "commandLike":
	default:
		return nil
	}
	n := uint64(nameSize)
	if z.usual {
		n = usualName
	}
	for _, a := range args {
		if a.Type().Kind() == types.ListKind {
			n *= 16
		}
	}
	return &cost.CallEstimate{CostEstimate: cost.Estimate{Max: n / 10}}
}
