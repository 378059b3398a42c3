// Command standin does what the five procedures of T1609 ask services for, and
// has the shape of the programs that they run, and nothing of what those do. It
// talks to the addresses that it is given, which are those of the test bed, and
// changes nothing outside of the containers that it asks for.
//
// What it is goes by its name, as with busybox; as "standin" by its first
// argument. Clients of services:
//
//	serve ADDRESS                     serve the two scripts, and remember who tells of what
//	kinsing ENGINE SOURCE             start containers that install, fetch a script and stay
//	teamtnt ENGINE SOURCE             start containers with the host's root, and one that goes on
//	worm ENGINE                       run commands in the containers named victim…
//	hildegard KUBELET NAMESPACE SOURCE  run commands in every container of a namespace
//	peirates SERVER KUBELET NAMESPACE NODE HOSTDIR  use the own pod's token
//
// Programs in containers, by their own names: kubectl with a token among its
// arguments (peirates re-executes itself so) and curl, which fetches; service,
// which starts what it is told to; as NAME, which takes a name; and any other
// name, which says so, waits a moment, and ends.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// patience bounds everything that a stand-in does.
const patience = 2 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	if name == "standin" {
		if len(args) == 0 {
			check(fmt.Errorf("what to be is missing"))
		}
		name, args = args[0], args[1:]
	}
	if name != "serve" {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	check(play(ctx, name, args))
}

func play(ctx context.Context, name string, args []string) error {
	parts := map[string]struct {
		args int
		do   func(context.Context, []string) error
	}{
		"serve": {1, serve}, "kinsing": {2, kinsing}, "teamtnt": {2, teamtnt}, "worm": {1, worm},
		"hildegard": {3, hildegard}, "peirates": {5, peirates},
	}
	if p, ok := parts[name]; ok {
		if len(args) != p.args {
			return fmt.Errorf("%s takes %d arguments", name, p.args)
		}
		return p.do(ctx, args)
	}
	switch name {
	case "kubectl":
		return kubectl(ctx, args)
	case "curl":
		return curl(ctx, args)
	case "service":
		return service(args)
	case "as":
		return syscall.Exec("/proc/self/exe", args, os.Environ())
	}
	fmt.Printf("stand-in for %s: nothing is done\n", name)
	time.Sleep(100 * time.Millisecond)
	return nil
}

// curl fetches the argument that is a URL, to standard output or to -o FILE.
func curl(ctx context.Context, args []string) error {
	var url string
	out := os.Stdout
	for i, a := range args {
		switch {
		case strings.HasPrefix(a, "http://"):
			url = a
		case a == "-o" && i+1 < len(args):
			f, err := os.Create(args[i+1])
			if err != nil {
				return err
			}
			defer f.Close()
			out = f
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(out, io.LimitReader(res.Body, 1<<20))
	return err
}

// service starts the program of that name in /usr/sbin.
func service(args []string) error {
	if len(args) != 2 || args[1] != "start" {
		return fmt.Errorf("usage: service NAME start")
	}
	out, err := exec.Command("/usr/sbin/" + filepath.Base(args[0])).CombinedOutput()
	os.Stdout.Write(out)
	return err
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "standin:", err)
		os.Exit(1)
	}
}
