package cli

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
)

// The schemas of the public JSON forms.
const (
	schemaBase        = "https://github.com/sallyport/sallyport/docs/reference/"
	sessionSchema     = "session.schema.json"
	observationSchema = "observation.schema.json"
	findingSchema     = "finding.schema.json"
)

// TestSessionSchema holds docs/reference/session.schema.json to the types.
func TestSessionSchema(t *testing.T) {
	generated(t, sessionSchema, encodeSchema(t, newSchemaBuilder(t).session()))
}

// TestFindingSchema does the same for findings.
func TestFindingSchema(t *testing.T) {
	generated(t, findingSchema, encodeSchema(t, newSchemaBuilder(t).finding()))
}

// TestObservationSchema does the same for the wire form of observations.
func TestObservationSchema(t *testing.T) {
	generated(t, observationSchema, encodeSchema(t, newSchemaBuilder(t).observation()))
}

func encodeSchema(t *testing.T, s *schema) []byte {
	t.Helper()
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// schema is a JSON Schema (draft 2020-12), as far as it is used here.
type schema struct {
	Schema      string             `json:"$schema,omitempty"`
	ID          string             `json:"$id,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Ref         string             `json:"$ref,omitempty"`
	Type        string             `json:"type,omitempty"`
	Format      string             `json:"format,omitempty"`
	Encoding    string             `json:"contentEncoding,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	Enum        []string           `json:"enum,omitempty"`
	Minimum     *int               `json:"minimum,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`
	OneOf       []*schema          `json:"oneOf,omitempty"`
	// Additional is a schema for the other properties, or false for none.
	Additional any                `json:"additionalProperties,omitempty"`
	Defs       map[string]*schema `json:"$defs,omitempty"`
}

// schemaBuilder makes schemas from Go types; descriptions come from their
// comments.
type schemaBuilder struct {
	comments map[string]string   // "pkg.Type" and "pkg.Type.Field"
	values   map[string][]string // "pkg.Type": the constants of a string type
	defs     map[string]*schema
}

func newSchemaBuilder(t *testing.T) *schemaBuilder {
	t.Helper()
	b := &schemaBuilder{comments: map[string]string{}, values: map[string][]string{}, defs: map[string]*schema{}}
	for _, pkg := range []string{"attack", "effect", "event", "finding", "session"} {
		files, err := filepath.Glob("../core/" + pkg + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("sources of %s: %v, %v", pkg, files, err)
		}
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			b.read(pkg, f)
		}
	}
	return b
}

// read collects comments and constants of a file.
func (b *schemaBuilder) read(pkg string, f *ast.File) {
	for _, d := range f.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range decl.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				name := pkg + "." + s.Name.Name
				b.comments[name] = comment(s.Doc, decl.Doc)
				if st, ok := s.Type.(*ast.StructType); ok {
					for _, field := range st.Fields.List {
						for _, n := range field.Names {
							b.comments[name+"."+n.Name] = comment(field.Doc, field.Comment)
						}
					}
				}
			case *ast.ValueSpec:
				if id, ok := s.Type.(*ast.Ident); ok && decl.Tok == token.CONST && len(s.Values) == 1 {
					if v, err := strconv.Unquote(literal(s.Values[0])); err == nil {
						b.values[pkg+"."+id.Name] = append(b.values[pkg+"."+id.Name], v)
					}
				}
			}
		}
	}
}

func literal(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		return lit.Value
	}
	return ""
}

// comment returns the first of the groups that says something, in one line.
func comment(groups ...*ast.CommentGroup) string {
	for _, g := range groups {
		if text := strings.Join(strings.Fields(strings.ReplaceAll(g.Text(), "//sumtype:decl", "")), " "); text != "" {
			return text
		}
	}
	return ""
}

const draft = "https://json-schema.org/draft/2020-12/schema"

func (b *schemaBuilder) session() *schema {
	top := b.object(reflect.TypeFor[session.Session]())
	top.Schema, top.ID, top.Title = draft, schemaBase+sessionSchema, "Sallyport session"
	top.Description += " Printed one object a line by sallyport sessions, show, tail and replay with --json. " +
		"Absent is absent: a field without a value is left out. New fields may be added; readers pass over what they do not know."
	top.Defs = b.defs
	return top
}

func (b *schemaBuilder) finding() *schema {
	top := b.object(reflect.TypeFor[finding.Finding]())
	top.Schema, top.ID, top.Title = draft, schemaBase+findingSchema, "Sallyport finding"
	top.Description += " Absent is absent: a field without a value is left out. New fields may be added; readers pass over what they do not know."
	top.Defs = b.defs
	return top
}

func (b *schemaBuilder) observation() *schema {
	top := &schema{
		Schema: draft, ID: schemaBase + observationSchema, Title: "Sallyport observation",
		Description: "One fact from one witness at one time, as captures and the corpus hold it: an object of one key, the kind of the observation.",
	}
	for _, o := range observations() {
		name := event.Name(o)
		top.OneOf = append(top.OneOf, &schema{
			Type: "object", Properties: map[string]*schema{name: b.ref(reflect.TypeOf(o))},
			Required: []string{name}, Additional: false,
		})
	}
	top.Defs = b.defs
	return top
}

// observations returns one of each kind, by name.
func observations() []event.Observation {
	all := []event.Observation{
		event.SessionEntry{}, event.ProcessExec{}, event.ProcessFork{}, event.ProcessExit{}, event.ClientConnect{},
		event.ClientClose{}, event.DockerEvent{}, event.DockerContainer{}, event.DockerExec{}, event.DockerRequest{},
		event.DockerAnswer{}, event.Decision{}, event.GateSighting{}, event.RuntimeEvent{}, event.RuntimeTask{}, event.RuntimeRequest{}, event.RuntimeContainer{},
		event.KubeRequest{}, event.KubeAdmission{}, event.KubePod{}, event.Progress{}, event.Clock{}, event.WitnessState{}, event.Loss{}, event.Tick{}, event.Host{},
	}
	slices.SortFunc(all, func(a, b event.Observation) int { return strings.Compare(event.Name(a), event.Name(b)) })
	return all
}

// name is a type's name as comments and constants are filed.
func typeName(t reflect.Type) string {
	return t.PkgPath()[strings.LastIndex(t.PkgPath(), "/")+1:] + "." + t.Name()
}

// exactTexts names the strings of a type that have an exact form beside them,
// for example "exe" with "exe_base64". All these types have an argument list,
// written as "argv" and "argv_base64", too.
var exactTexts = map[reflect.Type][]string{
	reflect.TypeFor[session.Session](): {"path"},
	reflect.TypeFor[session.Actor]():   {"exe"},
	reflect.TypeFor[session.Process](): {"exe", "filename"},
	reflect.TypeFor[session.Program](): {"exe"},
}

// object describes a struct type.
func (b *schemaBuilder) object(t reflect.Type) *schema {
	s := &schema{Type: "object", Description: b.comments[typeName(t)], Properties: map[string]*schema{}}
	b.fields(s, t)
	texts, written := exactTexts[t]
	for _, name := range texts {
		s.Properties[name+"_base64"] = &schema{
			Type: "string", Encoding: "base64", Description: "The exact " + name + ", when it is not UTF-8.",
		}
	}
	switch {
	case written:
		s.Properties["argv"] = &schema{
			Type: "array", Items: &schema{Type: "string"},
			Description: strings.TrimSpace(b.comments[typeName(t)+".Argv"] + " Bytes that are not UTF-8 are replaced; then argv_base64 has the exact ones."),
		}
		s.Properties["argv_base64"] = exactArgs()
	case t == reflect.TypeFor[event.Argv]():
		s.Properties["base64"] = exactArgs()
	}
	if t == reflect.TypeFor[session.Process]() {
		zero := 0
		s.Properties["start_boot"] = &schema{Type: "integer", Minimum: &zero, Description: "Start in nanoseconds since boot: with pid, the process's unique name."}
		s.Properties["start_logged"] = &schema{Type: "integer", Minimum: &zero, Description: "Instead of start_boot, of a process that only a log tells of: the time of its first record there, in nanoseconds since 1970."}
		s.Required = slices.DeleteFunc(s.Required, func(name string) bool { return name == "uid" || name == "gid" }) // absent where a log has none
	}
	slices.Sort(s.Required)
	return s
}

func exactArgs() *schema {
	return &schema{
		Type: "array", Items: &schema{Type: "string", Encoding: "base64"},
		Description: "The exact arguments, each in base64, when one of them is not UTF-8.",
	}
}

// fields adds the fields of t, those of embedded structs among them.
func (b *schemaBuilder) fields(s *schema, t reflect.Type) {
	for f := range t.Fields() {
		if f.Anonymous {
			b.fields(s, f.Type)
			continue
		}
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		p := b.ref(f.Type)
		if text := b.comments[typeName(t)+"."+f.Name]; text != "" {
			p.Description = text
		}
		s.Properties[name] = p
		if opts == "" {
			s.Required = append(s.Required, name)
		}
	}
}

// ref describes a type where it is used; structs go to the definitions.
func (b *schemaBuilder) ref(t reflect.Type) *schema {
	zero := 0
	switch {
	case t == reflect.TypeFor[time.Time]():
		return &schema{Type: "string", Format: "date-time"}
	case t == reflect.TypeFor[finding.Severity]():
		return &schema{Type: "string", Description: b.comments[typeName(t)], Enum: severityNames()}
	case t == reflect.TypeFor[event.Text]():
		return b.define(t, func() *schema {
			return &schema{Description: b.comments[typeName(t)], OneOf: []*schema{
				{Type: "string"},
				{Type: "object", Properties: map[string]*schema{"base64": {Type: "string", Encoding: "base64"}}, Required: []string{"base64"}, Additional: false},
			}}
		})
	case t == reflect.TypeFor[event.Duration]():
		return &schema{Type: "string", Pattern: `^-?([0-9.]+(h|m|s|ms|µs|ns))+$`}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return b.ref(t.Elem())
	case reflect.Struct:
		return b.define(t, func() *schema { return b.object(t) })
	case reflect.Slice:
		return &schema{Type: "array", Items: b.ref(t.Elem())}
	case reflect.Map:
		return &schema{Type: "object", Additional: b.ref(t.Elem())}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return &schema{Type: "integer"}
	case reflect.Uint32, reflect.Uint64:
		return &schema{Type: "integer", Minimum: &zero}
	case reflect.String:
		return b.text(t)
	}
	panic("schema: no JSON form for " + t.String())
}

func severityNames() []string {
	var names []string
	for _, s := range finding.Severities() {
		names = append(names, s.String())
	}
	return names
}

// text describes a string type. Its constants are all that it can be, except
// for channels and techniques, of which later versions know more.
func (b *schemaBuilder) text(t reflect.Type) *schema {
	s := &schema{Type: "string"}
	if t.PkgPath() == "" {
		return s
	}
	s.Description = b.comments[typeName(t)]
	if t != reflect.TypeFor[event.Channel]() && t != reflect.TypeFor[attack.Technique]() {
		s.Enum = b.values[typeName(t)]
	}
	return s
}

// define files a type's schema once and returns a reference to it.
func (b *schemaBuilder) define(t reflect.Type, build func() *schema) *schema {
	name := strings.ToLower(t.Name()[:1]) + t.Name()[1:]
	if _, ok := b.defs[name]; !ok {
		b.defs[name] = nil // for types that contain themselves
		b.defs[name] = build()
	}
	return &schema{Ref: "#/$defs/" + name}
}

// compile reads a schema as a user would; strict forbids what it does not
// mention, so that a field can be neither forgotten nor misspelt.
func compile(t *testing.T, s *schema, strict bool) *jsonschema.Schema {
	t.Helper()
	if strict {
		seal(s)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(encodeSchema(t, s))))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(s.ID, doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func seal(s *schema) {
	if s.Properties != nil {
		s.Additional = false
	}
	for d := range maps.Values(s.Defs) {
		seal(d)
	}
}

// TestSessionsAreValid marshals sessions made by chance and validates them.
func TestSessionsAreValid(t *testing.T) {
	valid := compile(t, newSchemaBuilder(t).session(), true)
	sessions := rapid.MakeCustom[session.Session](byChance(newSchemaBuilder(t)))
	rapid.Check(t, func(t *rapid.T) {
		validate(t, valid, sessions.Draw(t, "session"))
	})
	if err := valid.Validate(map[string]any{"id": "x"}); err == nil {
		t.Error("an object without the required fields is valid")
	}
}

// TestFindingsAreValid does the same for findings.
func TestFindingsAreValid(t *testing.T) {
	valid := compile(t, newSchemaBuilder(t).finding(), true)
	findings := rapid.MakeCustom[finding.Finding](byChance(newSchemaBuilder(t)))
	rapid.Check(t, func(t *rapid.T) { validate(t, valid, findings.Draw(t, "finding")) })
	if err := valid.Validate(map[string]any{"id": "x"}); err == nil {
		t.Error("an object without the required fields is valid")
	}
}

// TestObservationsAreValid does the same for every kind of observation.
func TestObservationsAreValid(t *testing.T) {
	valid := compile(t, newSchemaBuilder(t).observation(), true)
	cfg := byChance(newSchemaBuilder(t))
	for name, draw := range map[string]func(*rapid.T) event.Observation{
		"process_exec":     drawn[event.ProcessExec](cfg),
		"session_entry":    drawn[event.SessionEntry](cfg),
		"docker_container": drawn[event.DockerContainer](cfg),
		"docker_request":   drawn[event.DockerRequest](cfg),
		"client_connect":   drawn[event.ClientConnect](cfg),
		"host":             drawn[event.Host](cfg),
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { validate(t, valid, wire{draw(t)}) })
		})
	}
	t.Run("corpus", func(t *testing.T) {
		files, err := filepath.Glob("../../corpus/*.txtar")
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(ar.Files[0].Data)) {
				validate(t, valid, json.RawMessage(line))
			}
		}
	})
}

func drawn[O event.Observation](cfg rapid.MakeConfig) func(*rapid.T) event.Observation {
	g := rapid.MakeCustom[O](cfg)
	return func(t *rapid.T) event.Observation { return g.Draw(t, "observation") }
}

// wire marshals an observation in its wire form.
type wire struct{ o event.Observation }

func (w wire) MarshalJSON() ([]byte, error) { return event.Marshal(w.o) }

func validate(t rapid.TB, s *jsonschema.Schema, v any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(doc); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

// byChance draws values of the kinds that observations and sessions have;
// string types with constants get one of them.
func byChance(b *schemaBuilder) rapid.MakeConfig {
	cfg := rapid.MakeConfig{Types: map[reflect.Type]*rapid.Generator[any]{}}
	cfg.Types[reflect.TypeFor[time.Time]()] = rapid.Map(rapid.Int64Range(0, 4e18), func(n int64) any { return time.Unix(0, n).UTC() })
	cfg.Types[reflect.TypeFor[string]()] = anyString[string]()
	cfg.Types[reflect.TypeFor[event.Text]()] = anyString[event.Text]()
	chosen[session.Kind](cfg, b)
	chosen[session.State](cfg, b)
	chosen[session.Place](cfg, b)
	chosen[session.Level](cfg, b)
	chosen[session.ActorKind](cfg, b)
	chosen[effect.Effect](cfg, b)
	cfg.Types[reflect.TypeFor[finding.Severity]()] = rapid.SampledFrom(finding.Severities()).AsAny()
	chosen[event.Witness](cfg, b)
	chosen[event.Service](cfg, b)
	chosen[event.EntryCause](cfg, b)
	chosen[event.DockerOp](cfg, b)
	return cfg
}

// anyString draws text, also bytes that are not UTF-8.
func anyString[S ~string]() *rapid.Generator[any] {
	return rapid.OneOf(
		rapid.Map(rapid.String(), func(s string) any { return S(s) }),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) any { return S(b) }),
	)
}

func chosen[S ~string](cfg rapid.MakeConfig, b *schemaBuilder) {
	t := reflect.TypeFor[S]()
	cfg.Types[t] = rapid.Map(rapid.SampledFrom(b.values[typeName(t)]), func(s string) any { return S(s) })
}

// TestEveryFieldHasAMeaning: the schema is the reference of the public form, so
// a field without a word of explanation needs a name that says all.
func TestEveryFieldHasAMeaning(t *testing.T) {
	b := newSchemaBuilder(t)
	b.session()
	b.finding()
	for name, d := range b.defs {
		if d.Description == "" {
			t.Errorf("type %s has no comment", name)
		}
	}
}

// TestSchemaHasEveryObservation holds observations() complete.
func TestSchemaHasEveryObservation(t *testing.T) {
	var got []string
	for _, o := range observations() {
		got = append(got, event.Name(o))
	}
	var want []string
	f, err := parser.ParseFile(token.NewFileSet(), "../core/event/wire.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if kv, ok := n.(*ast.KeyValueExpr); ok {
			if name, err := strconv.Unquote(literal(kv.Key)); err == nil {
				want = append(want, name)
			}
		}
		return true
	})
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-package event +here):\n%s", diff)
	}
}
