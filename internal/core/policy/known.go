package policy

import (
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/sallyport/sallyport/internal/core/session"
)

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

// found says which of a session's fields the index looked up. A part of a
// conjunction that reads one of these and nothing else is either true or false
// for the value; had it been false, the index would have left the rule out.
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

// has reports whether a part that reads a field alone is known to hold.
func (f found) has(path string) bool {
	switch path {
	case "channel":
		return f.channel
	case "kind":
		return f.kind
	case namespacePath:
		return f.namespace
	}
	return false
}

// ask asks a rule that the index let through for what is left of its condition.
func (a *asking) ask(r *rule) answer {
	known := a.found
	// Of a rule that only compares namespaces with texts, the index's set for all
	// others tells, too.
	known.namespace = known.namespace || known.other && r.compares
	return a.judge(r.when, known)
}
