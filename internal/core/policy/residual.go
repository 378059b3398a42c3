package policy

import (
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/parser"

	"github.com/sallyport/sallyport/internal/core/session"
)

// residual is what is left to ask of a condition once the index has looked up a
// session's channel, kind and namespace. A part of a conjunction that reads one
// of these and nothing else is either true or false for the value; had it been
// false, the index would have left the rule out.
type residual struct {
	rest *condition // nil: nothing is left to ask
	// What has to have been looked up.
	channel, kind, namespace bool
	// compares says that the rule only compares namespaces with texts, so that
	// the index's set for all others tells, too.
	compares bool
}

// newResidual returns what is left of a condition, nil when that is all of it.
func newResidual(env *cel.Env, r *rule) *residual {
	if r.when == nil {
		return nil
	}
	out := &residual{compares: r.onlyCompares(namespacePath)}
	var rest []string
	for _, part := range conjunction(r.when.ast.Expr()) {
		switch path := onlyPath(part); path {
		case "channel":
			out.channel = true
		case "kind":
			out.kind = true
		case namespacePath:
			out.namespace = true
		default:
			text, err := parser.Unparse(part, r.when.ast.SourceInfo())
			if err != nil {
				return nil
			}
			rest = append(rest, "("+text+")")
		}
	}
	if !out.channel && !out.kind && !out.namespace {
		return nil
	}
	if len(rest) == 0 {
		return out
	}
	checked, issues := env.Compile(strings.Join(rest, " && "))
	if issues.Err() != nil {
		return nil
	}
	var err error
	if out.rest, err = newCondition(env, checked); err != nil {
		return nil
	}
	return out
}

// conjunction returns the parts of a && b && c.
func conjunction(e ast.Expr) []ast.Expr {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.LogicalAnd {
		var out []ast.Expr
		for _, a := range e.AsCall().Args() {
			out = append(out, conjunction(a)...)
		}
		return out
	}
	return []ast.Expr{e}
}

// onlyPath returns the one field of a session that an expression reads, "" when
// it reads another number of them.
func onlyPath(e ast.Expr) string {
	found := ""
	inner := map[int64]bool{}
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(x ast.Expr) {
		path := ""
		switch {
		case inner[x.ID()]:
			return
		case x.Kind() == ast.SelectKind:
			var root string
			root, path = selectPath(x)
			for op := x.AsSelect().Operand(); ; op = op.AsSelect().Operand() {
				inner[op.ID()] = true
				if op.Kind() != ast.SelectKind {
					break
				}
			}
			if root == "lists" || root == "values" {
				return
			}
			if root != "session" && root != "request" {
				path = "?"
			}
		case x.Kind() == ast.IdentKind, x.Kind() == ast.ComprehensionKind:
			path = "?"
		default:
			return
		}
		if found != "" && found != path {
			path = "?"
		}
		found = path
	}))
	return found
}

// found says which of a session's fields the index looked up.
type found struct{ channel, kind, namespace, other bool }

func (x *index) found(s *session.Session) found {
	var f found
	_, f.channel = x.channels[s.Channel]
	_, f.kind = x.kinds[s.Kind]
	if s.Target.Namespace != "" {
		_, f.namespace = x.namespaces[s.Target.Namespace]
		f.other = !f.namespace
	} else {
		f.namespace = hasNoNamespace(s)
	}
	return f
}

// ask asks a rule that the index let through for what is left of its condition.
func (a *asking) ask(r *rule) answer {
	p := r.residual
	if p == nil || p.channel && !a.found.channel || p.kind && !a.found.kind ||
		p.namespace && !a.found.namespace && (!a.found.other || !p.compares) {
		return r.when.judge(a.view, a.frame)
	}
	if p.rest == nil {
		return answer{yes: true}
	}
	return p.rest.judge(a.view, a.frame)
}
