package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed/cputime"
)

// benchRules returns n rules as people write them: each about a namespace, a
// channel or a kind, and then about people and commands.
func benchRules(n int) string {
	var b strings.Builder
	b.WriteString("version: 1\ndefault: allow\nlists: {admins: [alice, \"system:serviceaccount:ci:*\"]}\nrules:\n")
	for i := range n {
		when := []string{
			`session.target.namespace == "team-%d" && session.tty && !("oncall" in session.actor.groups)`,
			`session.kind == "exec" && session.argv[0] == "tool-%d" && !session.actor.user.like(lists.admins)`,
			`session.channel in ["DK-EXEC", "DK-RUN"] && session.target.image.startsWith("registry-%d/")`,
			`session.kind == "exec" && session.target.namespace == "prod" && session.command.matches("^(nc|ncat) .*-e.* %d$")`,
		}[i%4]
		fmt.Fprintf(&b, "  - {id: r%d, effect: deny, severity: high, when: %q}\n", i, fmt.Sprintf(when, i))
	}
	return b.String()
}

// BenchmarkDecide is one decision: of a session that no rule is about, of one
// about which half of the rules have to be asked and none holds, and of one
// that the last rule denies.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{1, 50, 200} {
		set := load(b, benchRules(n)+`  - {id: last, effect: deny, severity: high, when: 'session.kind == "exec" && session.argv[0] == "sh" && session.actor.user == "eve"'}`+"\n")
		for _, c := range []struct {
			name string
			s    session.Session
			want effect.Effect
		}{
			{"ruled-out", exec("ann", func(s *session.Session) { s.Kind, s.Target.Namespace = session.KindCopy, "else" }), effect.Allow},
			{"no-match", exec("ann"), effect.Allow},
			{"match", exec("eve"), effect.Deny},
		} {
			b.Run(fmt.Sprintf("rules=%d/%s", n, c.name), func(b *testing.B) {
				b.ReportAllocs()
				before := cputime.User()
				for b.Loop() {
					if d := set.Decide(&c.s); d.Effect != c.want {
						b.Fatalf("%+v", d)
					}
				}
				b.ReportMetric(float64((cputime.User()-before).Nanoseconds())/float64(b.N), "user-ns/op")
			})
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	text := []byte(benchRules(200))
	for b.Loop() {
		if _, err := Load([]File{{"r.yaml", text}}); err != nil {
			b.Fatal(err)
		}
	}
}

// benchSigma returns n Sigma rules of the shapes that the public ones about
// processes have.
func benchSigma(n int) string {
	shapes := []string{
		"selection: {Image|endswith: /tool%d}\ncondition: selection",
		"selection: {Image|endswith: [/ls%[1]d, /find%[1]d, /tree%[1]d], CommandLine|contains: [' -R ', ' /etc/']}\ncondition: selection",
		"selection_img: {Image|endswith: /get%d}\nselection_cli: [{CommandLine|contains: [' --form', ' --data ']}, {CommandLine|re: '\\s-[FTd]\\s'}]\n" +
			"filter: {CommandLine|contains: '://localhost'}\ncondition: all of selection_* and not 1 of filter",
		"selection: {CommandLine|contains|all: ['one%d ', '/two']}\ncondition: selection",
		"parent: {ParentImage|endswith: [/web%[1]d, /www%[1]d]}\nother: {ParentCommandLine|contains|all: [java, cat%[1]d]}\n" +
			"sub: {Image|endswith: [/whoami, /hostname, /uname, /cat]}\ncondition: (parent or other) and sub",
	}
	docs := make([]string, n)
	for i := range docs {
		docs[i] = fmt.Sprintf("id: s%d\n", i) + sigmaRule(onProcesses, fmt.Sprintf(shapes[i%len(shapes)], i))
	}
	return strings.Join(docs, "---\n")
}

// BenchmarkSigma is one decision of Sigma rules about processes of which none
// holds, over sessions with few and many programs.
func BenchmarkSigma(b *testing.B) {
	for _, programs := range []int{1, 5, 50} {
		s := exec("ann", tree(ran(1, 0, "/usr/bin/bash", "bash -c 'apt-get update && apt-get install -y ca-certificates'", nil)))
		for i := 1; i < programs; i++ {
			tree(ran(uint32(i+1), uint32(i), "/usr/bin/dpkg", "dpkg --print-architecture --root=/ /var/lib/dpkg/info/x.list", nil))(&s)
		}
		for _, n := range []int{20, 120} {
			set := load(b, benchSigma(n))
			b.Run(fmt.Sprintf("programs=%d/rules=%d", programs, n), func(b *testing.B) {
				b.ReportAllocs()
				before := cputime.User()
				for b.Loop() {
					if d := set.Review(&s); len(d.Matches) > 0 {
						b.Fatalf("%+v", d)
					}
				}
				b.ReportMetric(float64((cputime.User()-before).Nanoseconds())/float64(b.N), "user-ns/op")
			})
		}
	}
}

// BenchmarkPack is what the shipped pack makes of a session, on average over all
// that the stories of corpus/ come to: a decision about what was seen, and the
// findings of a session that is new to the engine. p99-ns and max-ns are of the
// sessions' own averages.
func BenchmarkPack(b *testing.B) {
	files, _ := packFiles(b)
	set, err := Load(files)
	if err != nil {
		b.Fatal(err)
	}
	sessions := corpus(b)
	b.Run("review", func(b *testing.B) {
		perSession(b, sessions, func(s *session.Session) { set.Review(s) })
	})
	b.Run("observe", func(b *testing.B) {
		e := NewEngine(set)
		perSession(b, sessions, func(s *session.Session) {
			delete(e.sessions, s.ID) // as if it had not been seen
			e.Observe(*s)
		})
	})
}

// perSession measures a function of one session: its mean, and the dearest
// sessions.
func perSession(b *testing.B, sessions []session.Session, do func(*session.Session)) {
	const rounds = 100
	b.ReportAllocs()
	before, n := cputime.User(), 0
	for b.Loop() {
		do(&sessions[n%len(sessions)])
		n++
	}
	b.ReportMetric(float64((cputime.User()-before).Nanoseconds())/float64(n), "user-ns/op")
	b.StopTimer()
	each := make([]float64, len(sessions))
	for i := range sessions {
		began := time.Now()
		for range rounds {
			do(&sessions[i])
		}
		each[i] = float64(time.Since(began).Nanoseconds()) / rounds
	}
	slices.Sort(each)
	b.ReportMetric(each[len(each)*99/100], "p99-ns")
	b.ReportMetric(each[len(each)-1], "max-ns")
}

// packFiles returns the files of the shipped pack, and those of its tests.
func packFiles(t testing.TB) (rules, tests []File) {
	t.Helper()
	for _, pattern := range []string{"../../../rules/*.yaml", "../../../rules/procedures/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatal(pattern, err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if f := (File{name, data}); strings.HasSuffix(name, ".test.yaml") {
				tests = append(tests, f)
			} else {
				rules = append(rules, f)
			}
		}
	}
	return rules, tests
}
