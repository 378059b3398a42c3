package field

import "testing"

func TestProgramName(t *testing.T) {
	for _, tc := range []struct {
		want, exe string
		argv      []string
	}{
		{"wget", "/usr/bin/wget", []string{"curl"}},
		{"wget", "/bin/busybox", []string{"wget", "-q"}},
		{"wget", "/bin/busybox", []string{"/bin/busybox", "wget"}},
		{"wget", "/bin/busybox", []string{"busybox", "/usr/bin/wget"}},
		{"sh", "/bin/busybox", []string{"-sh"}},
		{"busybox", "/bin/busybox", []string{"busybox"}},
		{"busybox", "/bin/busybox", nil},
		{"x", "/tmp/x", []string{"wget"}},
		{"kubectl", `C:\k\Kubectl.EXE`, nil},
		{"kubectl.exe", "/tmp/kubectl.exe", nil},
		{"", "", []string{"wget"}},
	} {
		if got := (&Program{exe: tc.exe, argv: tc.argv}).calledName(); got != tc.want {
			t.Errorf("%q %q: %q, want %q", tc.exe, tc.argv, got, tc.want)
		}
	}
}
