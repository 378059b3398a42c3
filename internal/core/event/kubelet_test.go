package event

import "testing"

func TestSaysKubelet(t *testing.T) {
	for agent, want := range map[string]bool{
		"kubelet/v1.37.2 (linux/amd64) kubernetes/5b5a2f8":       true,
		"kubelet.exe/v1.30.1 (windows/amd64) kubernetes/6911225": true,
		"k3s/v1.30.1+k3s1 (linux/amd64) kubernetes/6911225":      true,
		"kubelet":                         false,
		"kubelets/v1":                     false,
		"kubectl.exe/v1 (windows/amd64)":  false,
		"Go-http-client/2.0 kubelet/v1.0": false,
		"":                                false,
	} {
		if got := SaysKubelet(agent); got != want {
			t.Errorf("%q: %v, want %v", agent, got, want)
		}
	}
}
