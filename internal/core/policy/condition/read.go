package condition

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/nearest"
)

// Use is one place where a condition reads a field of the session or request.
type Use struct {
	id   int64
	Path string // below the variable, the longest that is written
	Root string // "session" or "request"
	Test bool   // has()
}

// fieldPaths returns the fields that an expression reads, each as the longest
// path that is written.
func fieldPaths(a *ast.AST) []Use {
	var out []Use
	inner := make(map[int64]bool) // operands of a longer path
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.SelectKind || inner[e.ID()] {
			return
		}
		root, path := selectPath(e)
		for op := e.AsSelect().Operand(); op.Kind() == ast.SelectKind; op = op.AsSelect().Operand() {
			inner[op.ID()] = true
		}
		if root == "session" || root == "request" {
			out = append(out, Use{e.ID(), path, root, e.AsSelect().IsTestOnly()})
		}
	}))
	return out
}

// selectPath returns the variable that a chain of selections begins with, and
// the names selected. A path ends where a list or a map begins.
func selectPath(e ast.Expr) (root, path string) {
	for e.Kind() == ast.SelectKind {
		s := e.AsSelect()
		if path != "" {
			path = "." + path
		}
		path = s.FieldName() + path
		e = s.Operand()
	}
	if e.Kind() != ast.IdentKind {
		return "", ""
	}
	return e.AsIdent(), path
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

// Uses returns the places where the condition reads a field, in its order.
func (c *Condition) Uses() []Use { return c.uses }

// Place returns where a place is in the text, as in a Mistake.
func (c *Condition) Place(u Use) (line, column int) {
	at := c.ast.SourceInfo().GetStartLocation(u.id)
	return at.Line(), at.Column()
}

// Possible reports whether the condition may hold for a session of which some
// fields are known, as field.Probe takes them.
func (c *Condition) Possible(known map[string]ref.Val) bool {
	a := c.prober.ask(known)
	return a.Yes || a.Unknown() || a.Err() != nil
}

// Texts returns the texts that are written in the condition.
func (c *Condition) Texts() []string {
	var out []string
	ast.PreOrderVisit(c.ast.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.LiteralKind {
			if s, ok := e.AsLiteral().(types.String); ok {
				out = append(out, string(s))
			}
		}
	}))
	return out
}

// OnlyCompares reports whether the condition does nothing with a field but to
// compare it with texts that it names, or asks whether it is there.
func (c *Condition) OnlyCompares(path string) bool {
	reads, compares := 0, 0
	ast.PreOrderVisit(c.ast.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			if root, p := selectPath(e); p == path && (root == "session" || root == "request") && !e.AsSelect().IsTestOnly() {
				reads++
			}
		case ast.CallKind:
			if comparesWithTexts(e.AsCall(), path) {
				compares++
			}
		default:
		}
	}))
	return reads == compares
}

func comparesWithTexts(c ast.CallExpr, path string) bool {
	args := c.Args()
	if len(args) != 2 {
		return false
	}
	field := func(e ast.Expr) bool { _, p := selectPath(e); return p == path }
	switch c.FunctionName() {
	case operators.Equals, operators.NotEquals:
		return field(args[0]) && args[1].Kind() == ast.LiteralKind || field(args[1]) && args[0].Kind() == ast.LiteralKind
	case operators.In:
		return field(args[0]) && args[1].Kind() == ast.ListKind &&
			!slices.ContainsFunc(args[1].AsList().Elements(), func(e ast.Expr) bool { return e.Kind() != ast.LiteralKind })
	}
	return false
}

// NeverEqual returns the texts that are compared with a field which never has
// them; values lists, by path, what fields have that have only a few.
func (c *Condition) NeverEqual(values map[string][]string) []Mistake {
	var out []Mistake
	ast.PreOrderVisit(c.ast.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || len(e.AsCall().Args()) != 2 {
			return
		}
		args := e.AsCall().Args()
		switch e.AsCall().FunctionName() {
		case operators.Equals, operators.NotEquals, operators.In:
		default:
			return
		}
		for i, a := range args {
			root, path := selectPath(a)
			known := values[path]
			if known == nil || root != "session" && root != "request" {
				continue
			}
			for _, text := range literals(args[1-i]) {
				if s := string(text.AsLiteral().(types.String)); !slices.Contains(known, s) {
					at := c.ast.SourceInfo().GetStartLocation(text.ID())
					out = append(out, Mistake{at.Line(), at.Column(), fmt.Sprintf("%s.%s is never %q", root, path, s), nearest.Suggestion(s, known)})
				}
			}
		}
	}))
	return out
}

// literals returns the texts that an expression is, or is a list of.
func literals(e ast.Expr) []ast.Expr {
	var out []ast.Expr
	list := []ast.Expr{e}
	if e.Kind() == ast.ListKind {
		list = e.AsList().Elements()
	}
	for _, x := range list {
		if x.Kind() == ast.LiteralKind {
			if _, ok := x.AsLiteral().(types.String); ok {
				out = append(out, x)
			}
		}
	}
	return out
}
