package main

import (
	"context"
	"os"
	"strconv"
	"testing"

	"github.com/sallyport/sallyport/internal/kube/audit/audittest"
	"github.com/sallyport/sallyport/testbed/docker"
)

func TestProf(t *testing.T) {
	share, _ := strconv.ParseFloat(os.Getenv("SHARE"), 64)
	n, _ := strconv.Atoi(os.Getenv("N"))
	log, _ := audittest.Mix{Seed: 1, Events: n, Relevant: share}.Lines()
	b := &bench{engine: &docker.Engine{Dir: t.TempDir()}}
	for range 3 {
		ours, note, err := b.intake(context.Background(), log)
		t.Log(ours, note, err)
	}
}
