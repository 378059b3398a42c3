package audit

import (
	"testing"

	"github.com/sallyport/sallyport/internal/core/event"
)

func TestInspect(t *testing.T) {
	d := newLogDir(t)
	if _, err := Inspect(d.path); err == nil {
		t.Error("a log from nowhere")
	}
	d.write(noise(6000)) // more than is looked at
	d.exec("a")
	d.write("x\n", execLine("half", d.now)[:50])
	f, err := Inspect(d.path)
	if err != nil || f.Malformed != 1 || f.Stages[event.KubeStarted] != 1 || f.Events < 100 || f.Events > 5000 || f.Newest.IsZero() {
		t.Errorf("%+v, %v", f, err)
	}
}
