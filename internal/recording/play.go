package recording

import (
	"context"
	"io"
	"iter"
	"time"
)

// Playing says how a recording is played. The zero value plays all of it, as
// fast as it went.
type Playing struct {
	Speed float64       // 0: 1
	Idle  time.Duration // the longest pause, before Speed; 0: any
	// From and To bound what is played in time since the start. What comes before
	// From is shown at once: a terminal's picture is made of it. To 0: to the end.
	From, To time.Duration
	// Safe takes away what a terminal acts upon, also of a terminal's recording.
	Safe bool
	// Sleep waits; it returns early when ctx ends. Required.
	Sleep func(ctx context.Context, d time.Duration)
	// Note is called at gaps and masked input, with a line for a person; nil:
	// nothing is said.
	Note func(at time.Duration, text string)
}

// Play writes what came out in a session to w, in its time. Standard input is
// not played: what of it was echoed is in the output.
//
// What a program without a terminal wrote never reaches w as control
// sequences: nobody meant it for one.
func (p Playing) Play(ctx context.Context, w io.Writer, h Header, list iter.Seq2[Frame, error]) error {
	out := w
	if !h.TTY || p.Safe {
		out = newPlain(w)
	}
	at := time.Duration(0)
	for f, err := range list {
		if err != nil {
			return err
		}
		if p.To > 0 && f.At > p.To {
			break
		}
		if f.At > p.From {
			p.wait(ctx, f.At-max(at, p.From))
		}
		at = max(at, f.At)
		if err := ctx.Err(); err != nil {
			return err
		}
		if text := f.note(); text != "" && p.Note != nil {
			p.Note(f.At, text)
		}
		if f.Stream == Stdin || len(f.Data) == 0 {
			continue
		}
		if _, err := out.Write(f.Data); err != nil {
			return err
		}
	}
	return nil
}

func (p Playing) wait(ctx context.Context, d time.Duration) {
	if p.Idle > 0 {
		d = min(d, p.Idle)
	}
	if p.Speed > 0 {
		d = time.Duration(float64(d) / p.Speed)
	}
	if d > 0 {
		p.Sleep(ctx, d)
	}
}
