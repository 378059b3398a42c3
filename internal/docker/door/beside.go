package door

import (
	"context"
	"io"
	"log/slog"
	"time"
)

// settings is the type of the frame with which each side of HTTP/2 begins.
const settings = 4

// speaksHTTP2 reports whether the daemon speaks HTTP/2 without TLS.
func (d *daemon) speaksHTTP2(ctx context.Context) (bool, error) {
	conn, err := d.dial(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(pluginLimit))
	if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		return false, err
	}
	head := make([]byte, 9)
	if _, err := io.ReadFull(conn, head); err != nil {
		return false, err
	}
	return head[3] == settings, nil
}

// Beside warns, when the daemon asks for the first time, of one that asks about some
// requests only: a daemon that speaks HTTP/2 without TLS takes BuildKit's calls on it
// beside the API, and asks no plugin about those (moby v2,
// daemon/command/httphandler.go).
func (p *Plugin) Beside(ctx context.Context) error {
	select {
	case <-p.asked:
	case <-ctx.Done():
		return nil
	}
	beside, err := p.reader.daemon.speaksHTTP2(ctx)
	switch {
	case err != nil:
		p.opt.Logger.Warn("the Docker daemon does not say whether it speaks HTTP/2, where it would not ask about builds", slog.Any("error", err))
	case beside:
		p.opt.Logger.Warn("this Docker daemon asks no plugin about BuildKit's calls by HTTP/2: " +
			"whoever reaches its socket can build, whatever the rules say; sallyport guard docker in front of the socket stops that")
	}
	return nil
}
