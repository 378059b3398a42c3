// Package condition compiles the conditions of rules, and asks them about sessions.
//
// They are CEL (cel.dev/cel-go) over what package field has. An answer is yes, no,
// unknown or an error: every question about an absent field is answered with no; a
// question about an unknown one has no answer, and the condition has none either,
// unless the rest of it decides. What one evaluation may cost is bounded (ErrCost).
//
// What conditions are mostly made of is planned: it becomes nodes of this package
// that know the constant side of a comparison beforehand, and are asked once for
// all conditions that have them. All else the library evaluates. The tests hold
// that a plan says what the library says.
//
// A Condition is safe for concurrent use, a Scope is not.
package condition

import (
	"path"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/policy/field"
)

// Bounds of a condition's text, so that a file of rules cannot take the loader
// down with it.
const (
	conditionMax = 16 << 10 // bytes
	nestingMax   = 64
	regexMax     = 4096 // instructions of a compiled regular expression
)

// Language is what conditions are written in: CEL with the fields of sessions and
// the lists and values that users set. Equal parts of its conditions are asked
// once for each Scope.
type Language struct {
	env     *cel.Env
	types   *provider
	planner *planner
}

// New returns the language for lists and values as package field takes them.
func New(lists map[string][]string, values map[string]any) (*Language, error) {
	env, p, err := environment(lists, values)
	if err != nil {
		return nil, err
	}
	planner, err := newPlanner(env, p, lists)
	return &Language{env, p, planner}, err
}

// Shared returns how many parts several of the conditions have that were made so
// far: what Scope.Begin wants to know.
func (l *Language) Shared() int { return l.planner.slots }

// Condition compiles a condition.
func (l *Language) Condition(text string) (*Condition, []Mistake) {
	checked, wrong := l.check(text)
	if checked == nil {
		return nil, wrong
	}
	if !checked.OutputType().IsExactType(cel.BoolType) {
		return nil, whole("a condition is true or false, this one is %s", checked.OutputType())
	}
	c, err := l.plan(checked)
	if err != nil {
		return nil, whole("%v", err)
	}
	return c, nil
}

// Name compiles an expression whose value names something: a text, a number, a
// flag or a list of texts.
func (l *Language) Name(text string) (*Name, []Mistake) {
	checked, wrong := l.check(text)
	if checked == nil {
		return nil, wrong
	}
	t := checked.OutputType()
	ok := slices.ContainsFunc([]*cel.Type{cel.StringType, cel.IntType, cel.BoolType, textList}, t.IsExactType)
	if !ok {
		return nil, whole("want a text, a number or a list of texts, this is %s", t)
	}
	p := planning{planner: l.planner, ast: checked.NativeRep()}
	n, err := p.named(checked.NativeRep().Expr())
	if err != nil {
		return nil, whole("%v", err)
	}
	return &Name{n}, nil
}

// Constant returns the value of an expression of literals, lists and values;
// what names it in mistakes.
func (l *Language) Constant(what, text string) (any, []Mistake) {
	checked, wrong := l.check(text)
	if checked == nil {
		return nil, wrong
	}
	p, err := l.env.Program(checked)
	if err == nil && len(fieldPaths(checked.NativeRep())) > 0 {
		return nil, whole("%s: want a value that does not depend on the session", what)
	}
	var v ref.Val
	if err == nil {
		v, _, err = p.Eval(&field.Probe{})
	}
	if err != nil {
		return nil, whole("%s: %v", what, err)
	}
	return v.Value(), nil
}

var textList = cel.ListType(cel.StringType)

// environment returns the language as the library has it.
func environment(lists map[string][]string, values map[string]any) (*cel.Env, *provider, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, nil, err
	}
	all := field.All()
	all[field.ListsType], all[field.ValuesType] = field.Lists(lists), field.Values(values)
	p := newProvider(registry, all)
	env, err := cel.NewCustomEnv(
		cel.StdLib(), cel.CustomTypeAdapter(registry), cel.CustomTypeProvider(p),
		cel.EnableMacroCallTracking(), // so that parts of a condition can be written out again
		cel.ParserExpressionSizeLimit(conditionMax), cel.ParserRecursionLimit(nestingMax), cel.RegexProgramSizeLimit(regexMax),
		cel.Variable("session", field.SessionType), cel.Variable("request", field.RequestType),
		cel.Variable("lists", field.ListsType), cel.Variable("values", field.ValuesType),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		cel.Function("basename", cel.Overload("basename_string", []*cel.Type{cel.StringType}, cel.StringType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return types.String(path.Base(string(v.(types.String)))) }))),
		cel.Function("like",
			cel.MemberOverload("string_like_string", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType, cel.BinaryBinding(likeOne)),
			cel.MemberOverload("string_like_list", []*cel.Type{cel.StringType, textList}, cel.BoolType, cel.BinaryBinding(likeAny))),
		cel.Function("ilike",
			cel.MemberOverload("string_ilike_string", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType, cel.BinaryBinding(patternLike)),
			cel.MemberOverload("string_ilike_list", []*cel.Type{cel.StringType, textList}, cel.BoolType, cel.BinaryBinding(patternLike))),
		cel.Function("commandLike",
			cel.MemberOverload("program_commandlike_string", []*cel.Type{field.ProgramType, cel.StringType}, cel.BoolType, cel.BinaryBinding(patternLike)),
			cel.MemberOverload("program_commandlike_list", []*cel.Type{field.ProgramType, textList}, cel.BoolType, cel.BinaryBinding(patternLike))),
		cel.Function("within",
			cel.MemberOverload("string_within_string", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType, cel.BinaryBinding(withinOne)),
			cel.MemberOverload("string_within_list", []*cel.Type{cel.StringType, textList}, cel.BoolType, cel.BinaryBinding(withinAny))),
	)
	return env, p, err
}
