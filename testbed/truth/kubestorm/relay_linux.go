package kubestorm

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"time"
)

// relay copies a growing file, line by line, to another file as a bad transport
// would.
type relay struct {
	Delay, Jitter time.Duration // a line is late by Delay, and by up to Jitter more
	Twice, Never  float64       // shares
}

type parcel struct {
	line []byte
	due  time.Time
}

// run copies what is written to from, after what is there now, until ctx ends
// and everything on its way is through.
func (r relay) run(ctx context.Context, from, to string, seed uint64) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := in.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	dice := rand.New(rand.NewPCG(seed, 2))
	lines, half := bufio.NewReader(in), []byte(nil)
	var way []parcel
	for ctx.Err() == nil || len(way) > 0 {
		for ctx.Err() == nil {
			b, err := lines.ReadBytes('\n')
			half = append(half, b...)
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
			way = append(way, r.send(dice, half)...)
			half = nil
		}
		if way, err = deliver(out, way); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// send puts a line on its way: once, twice or not at all.
func (r relay) send(dice *rand.Rand, line []byte) (way []parcel) {
	copies := 1
	if dice.Float64() < r.Twice {
		copies = 2
	}
	if dice.Float64() < r.Never {
		copies = 0
	}
	for range copies {
		way = append(way, parcel{line, time.Now().Add(r.Delay + time.Duration(dice.Float64()*float64(r.Jitter)))})
	}
	return way
}

// deliver writes what is due and returns the rest.
func deliver(out io.Writer, way []parcel) (rest []parcel, err error) {
	now := time.Now()
	for _, p := range way {
		if p.due.After(now) {
			rest = append(rest, p)
		} else if _, writeErr := out.Write(p.line); writeErr != nil {
			err = writeErr
		}
	}
	return rest, err
}
