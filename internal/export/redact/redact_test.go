package redact

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
)

func redactor(t testing.TB, r Rules) *Redactor {
	t.Helper()
	x, err := New(r)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestArgs(t *testing.T) {
	x := redactor(t, Rules{Names: []string{"pin"}, Public: []string{"page-token"}, Short: map[string][]string{"vaultctl": {"-k"}}})
	for _, c := range []struct{ in, want []string }{
		{[]string{"app", "--password=hunter2", "x"}, []string{"app", "--password=[redacted]", "x"}},
		{[]string{"app", "--db-password", "hunter2", "x"}, []string{"app", "--db-password", "[redacted]", "x"}},
		{[]string{"app", "-token=hunter2"}, []string{"app", "-token=[redacted]"}},
		{[]string{"app", "--token", "--verbose"}, []string{"app", "--token", "--verbose"}},
		{[]string{"app", "--token", "-hunter2"}, []string{"app", "--token", "[redacted]"}},
		{[]string{"app", "--password-stdin", "x"}, []string{"app", "--password-stdin", "x"}},
		{[]string{"app", "--token-file", "/run/token"}, []string{"app", "--token-file", "/run/token"}},
		{[]string{"psql", "--no-password", "db"}, []string{"psql", "--no-password", "db"}},
		{[]string{"app", "--page-token", "abc", "--pin", "1234"}, []string{"app", "--page-token", "abc", "--pin", "[redacted]"}},
		{[]string{"env", "AWS_SECRET_ACCESS_KEY=a b c", "PWD=/root", "PGPASSWORD=x", "psql"}, []string{"env", "AWS_SECRET_ACCESS_KEY=[redacted]", "PWD=/root", "PGPASSWORD=[redacted]", "psql"}},
		{[]string{"kubectl", "create", "secret", "generic", "db", "--from-literal=password=hunter2"}, []string{"kubectl", "create", "secret", "generic", "db", "--from-literal=password=[redacted]"}},
		{[]string{"helm", "--set", "a=1,db.password=hunter2"}, []string{"helm", "--set", "a=1,db.password=[redacted]"}},
		{[]string{"mysql", "-uroot", "-phunter2", "-p", "shop"}, []string{"mysql", "-uroot", "-p[redacted]", "-p", "shop"}},
		{[]string{"docker", "exec", "db", "/usr/bin/mysqldump", "-phunter2"}, []string{"docker", "exec", "db", "/usr/bin/mysqldump", "-p[redacted]"}},
		{[]string{"ssh", "-p2222", "host"}, []string{"ssh", "-p2222", "host"}},
		{[]string{"mkdir", "-p", "/a"}, []string{"mkdir", "-p", "/a"}},
		{[]string{"sshpass", "-p", "hunter2", "ssh", "h"}, []string{"sshpass", "-p", "[redacted]", "ssh", "h"}},
		{[]string{"curl", "-u", "ann:hunter2", "https://h/"}, []string{"curl", "-u", "ann:[redacted]", "https://h/"}},
		{[]string{"curl", "-H", "Authorization: Bearer abcdefghijk", "-H", "Accept: */*"}, []string{"curl", "-H", "Authorization: [redacted]", "-H", "Accept: */*"}},
		{[]string{"vaultctl", "-k", "hunter2"}, []string{"vaultctl", "-k", "[redacted]"}},
		{[]string{"git", "clone", "https://oauth2:hunter2@git.example/x.git"}, []string{"git", "clone", "https://[redacted]@git.example/x.git"}},
		{[]string{"git", "clone", "ssh://git@git.example/x.git"}, []string{"git", "clone", "ssh://git@git.example/x.git"}},
		{[]string{"psql", "postgres://ann:h@nter2@db/shop?sslmode=on"}, []string{"psql", "postgres://ann:[redacted]@db/shop?sslmode=on"}},
		{[]string{"curl", "https://h/x?a=1&access_token=hunter2&b=2"}, []string{"curl", "https://h/x?a=1&access_token=[redacted]&b=2"}},
		{[]string{"sh", "-c", "cd /a && mysql -uroot -phunter2; mkdir -p /x"}, []string{"sh", "-c", "cd /a && mysql -uroot -p[redacted]; mkdir -p /x"}},
		{[]string{"sh", "-c", `export TOKEN="a b" PATH=/bin; run --secret 'x y' --keep z`}, []string{"sh", "-c", `export TOKEN="[redacted]" PATH=/bin; run --secret '[redacted]' --keep z`}},
		{[]string{"sh", "-c", `bash -c "tool --password 'hunter2'"`}, []string{"sh", "-c", `bash -c "tool --password '[redacted]'"`}},
		{[]string{"curl", "-d", `{"user":"ann","password":"hunter2","n":1}`}, []string{"curl", "-d", `{"user":"ann","password":"[redacted]","n":1}`}},
		{[]string{"app", "Server=db;Password=hunter2;Timeout=3"}, []string{"app", "Server=db;Password=[redacted];Timeout=3"}},
		{[]string{"sh", "-c", "id\xff --token a\xffb"}, []string{"sh", "-c", "id\xff --token [redacted]"}},
		{[]string{"ls", "-l", "/var/run/secrets/kubernetes.io/serviceaccount/token"}, []string{"ls", "-l", "/var/run/secrets/kubernetes.io/serviceaccount/token"}},
		{nil, nil},
	} {
		before := slices.Clone(c.in)
		got := x.Args(c.in)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.in, diff)
		}
		if again := x.Args(got); !slices.Equal(again, got) {
			t.Errorf("%q: a second time it is %q", got, again)
		}
		if !slices.Equal(before, c.in) {
			t.Errorf("%q was changed in place", before)
		}
	}
}

func TestText(t *testing.T) {
	x := redactor(t, Rules{})
	for in, want := range map[string]string{
		"nothing to see: /bin/sh -c id":                                         "nothing to see: /bin/sh -c id",
		"got eyJhbGciOiJIUzI1.eyJzdWIiOiIx.c2ln here":                           "got [redacted] here",
		"-----BEGIN RSA PRIVATE KEY-----\nAA\n-----END RSA PRIVATE KEY-----\nx": "[redacted]\nx",
		"-----BEGIN PRIVATE KEY-----\nAA":                                       "[redacted]",
		"Basic aHVudGVyMjpodW50ZXIy":                                            "Basic [redacted]",
		"cookie: a=b; c=d\nnext":                                                "cookie: [redacted]\nnext",
		"use ghp_abcdefghijklmnopqrstuvwxyz0":                                   "use [redacted]",
	} {
		if got := x.Text(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestRulesAreChecked(t *testing.T) {
	for _, r := range []Rules{{Names: []string{"-"}}, {Short: map[string][]string{"x": {"k"}}}, {Short: map[string][]string{"": {"-k"}}}} {
		if _, err := New(r); err == nil {
			t.Errorf("%+v was taken", r)
		}
	}
}

// shown lists fields that go out as they are: names, ids, numbers in words,
// paths of programs. Every other string must be redacted.
var shown = map[string]bool{
	"ID": true, "Kind": true, "Channel": true, "State": true, "ArgvSource": true, "User": true, "Direction": true,
	"AuditID": true, "Verb": true, "ExecID": true, "SupersededBy": true, "Level": true, "Via": true, "LoginUser": true, "Exe": true,
	"Address": true, "Service": true, "Container": true, "Session": true, "KubeUID": true, "Groups": true, "UID": true,
	"ContainerID": true, "ContainerName": true, "Image": true, "ImageID": true, "Runtime": true, "Pod": true, "PodUID": true,
	"Namespace": true, "Workload": true, "Node": true, "Filename": true, "UserName": true, "TTY": true, "Witness": true,
	"Rule": true, "Title": true, "Subject": true, "Related": true, "Name": true, "Attribution": true, "Candidates": true,
	"Impersonator": true, "Effect": true, "Unknown": true, "Source": true, "Attack": true, "CIS": true, "Remedy": true,
	"Namespaces": true, "Capabilities": true, "Place": true,
}

// TestEveryTextIsRedacted plants a secret in every string of a session and a
// finding: a field that is added later is redacted or listed above.
func TestEveryTextIsRedacted(t *testing.T) {
	x := redactor(t, Rules{})
	var s session.Session
	var f finding.Finding
	plant(reflect.ValueOf(&s).Elem())
	plant(reflect.ValueOf(&f).Elem())
	gotS, gotF := x.Session(s), x.Finding(f)
	look(t, "Session", reflect.ValueOf(gotS), "")
	look(t, "Finding", reflect.ValueOf(gotF), "")
	if gotS.Processes[0].ArgvHash != "" {
		t.Error("the hash of redacted arguments goes out")
	}
	if s.Argv[0] != planted || s.Processes[0].Argv[0] != planted || s.Target.Labels[planted] != planted || f.Evidence[0].Detail != planted {
		t.Error("redacting changed its input")
	}
}

const planted = "--password=hunter2"

func plant(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(planted)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				plant(v.Field(i))
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		plant(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		plant(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		value := reflect.New(v.Type().Elem()).Elem()
		plant(value)
		v.SetMapIndex(reflect.ValueOf(planted), value)
	default:
	}
}

func look(t *testing.T, path string, v reflect.Value, field string) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		if strings.Contains(v.String(), "hunter2") && !shown[field] {
			t.Errorf("%s goes out as %q", path, v.String())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				look(t, path+"."+f.Name, v.Field(i), f.Name)
			}
		}
	case reflect.Pointer:
		look(t, path, v.Elem(), field)
	case reflect.Slice:
		for i := range v.Len() {
			look(t, path, v.Index(i), field)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			look(t, path, v.MapIndex(k), field)
		}
	default:
	}
}

// FuzzArgs puts a known secret into places where it must be found, between
// anything.
func FuzzArgs(f *testing.F) {
	f.Add("sh", "-c", uint8(0))
	f.Add("mysql", "id; x", uint8(3))
	f.Add("a=\"b", "'", uint8(5))
	f.Fuzz(func(t *testing.T, a, b string, place uint8) {
		const secret = "Zq9vX7kLw2"
		if strings.Contains(a+b, secret) {
			return
		}
		x := redactor(t, Rules{})
		planted := [][]string{
			{"--password=" + secret}, {"--api-key", secret}, {"DB_PASSWORD=" + secret}, {"https://ann:" + secret + "@h/"},
			{"mysql", "-p" + secret}, {"-H", "Authorization: " + secret}, {"sh", "-c", "tool --token " + secret + " x"},
			{`{"client_secret": "` + secret + `"}`}, {"postgres://u:" + secret + "@h"},
		}
		// What comes before must not itself take the place of the flag.
		in := slices.Concat([]string{a}, []string{"--"}, planted[int(place)%len(planted)], []string{b})
		got := x.Args(in)
		if len(got) != len(in) {
			t.Fatalf("%d arguments became %d", len(in), len(got))
		}
		if strings.Contains(strings.Join(got, " "), secret) {
			t.Errorf("%q goes out as %q", in, got)
		}
		if again := x.Args(got); !slices.Equal(again, got) {
			t.Errorf("%q\n becomes %q\n and then %q", in, got, again)
		}
		text := x.Text(a + " " + b)
		if again := x.Text(text); again != text {
			t.Errorf("text %q becomes %q", text, again)
		}
	})
}

// BenchmarkArgs takes hostile arguments of 64 KiB: the time for a byte must not
// grow with their number.
func BenchmarkArgs(b *testing.B) {
	x := redactor(b, Rules{})
	for name, part := range map[string]string{"programs": "curl ", "assignments": "a=", "quotes": `'"`, "words": "x ", "names": "token", "urls": "a://b:c", "plain": "/bin/sh -c id "} {
		for _, size := range []int{4 << 10, 64 << 10} {
			b.Run(name+"/"+map[int]string{4 << 10: "4KiB", 64 << 10: "64KiB"}[size], func(b *testing.B) {
				in := []string{"sh", "-c", strings.Repeat(part, size/len(part))}
				b.SetBytes(int64(size))
				for b.Loop() {
					x.Args(in)
				}
			})
		}
	}
}
