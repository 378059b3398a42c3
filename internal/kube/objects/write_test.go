package objects_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/kube/objects"
)

// TestManifestIsRead: what is written is what is read, whatever the names are.
func TestManifestIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringOfN(rapid.SampledFrom([]rune("ab:# -'\"\n{}[]*&!|>%@0né")), 1, 12, -1)
		some := rapid.SliceOfN(rapid.SampledFrom([]string{"", "*", "get", "pods/exec", "yes", "null", "a: b", "1e3"}), 1, 3)
		o := inventory.Object{Namespace: rapid.SampledFrom([]string{"", "shop"}).Draw(t, "namespace"), Name: name.Draw(t, "name")}
		r := inventory.Role{Object: o, Rules: []inventory.Rule{{Verbs: some.Draw(t, "verbs"), Groups: some.Draw(t, "groups"), Resources: some.Draw(t, "resources"), Names: []string{name.Draw(t, "of")}}}}
		b := inventory.Binding{Object: o, Role: o.Name, ToClusterRole: o.Namespace == "", Subjects: []inventory.Subject{
			{Kind: inventory.User, Name: name.Draw(t, "user")}, {Kind: inventory.ServiceAccountSubject, Namespace: "ci", Name: "deploy"},
		}}
		text, err := objects.Manifest(&r, &b)
		if err != nil {
			t.Fatal(err)
		}
		l := objects.New(objects.Options{})
		if err := l.Read("it", bytes.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		c, _, skipped := l.Finish()
		if len(skipped) > 0 {
			t.Fatalf("%v\n%s", skipped, text)
		}
		var got []inventory.Role
		for _, k := range c.Roles {
			if k.Origin.Source == "it" { // those that every cluster has are added
				got = append(got, k)
			}
		}
		where := []cmp.Option{cmpopts.IgnoreTypes(inventory.Origin{}), cmpopts.IgnoreFields(inventory.Rule{}, "Line", "From"), cmpopts.IgnoreFields(inventory.Subject{}, "Line"), cmpopts.EquateEmpty()}
		if d := cmp.Diff([]inventory.Role{r}, got, where...) + cmp.Diff([]inventory.Binding{b}, c.Bindings, where...); d != "" {
			t.Fatalf("%s\n%s", d, text)
		}
	})
}
