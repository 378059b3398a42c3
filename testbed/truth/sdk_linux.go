package truth

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/moby/moby/client"
)

// envSDK makes the harness's own program a client that uses Docker's Go SDK:
// its value is the engine's address and the container, separated by a blank.
const envSDK = "SALLYPORT_TRUTH_SDK"

// ClientMain turns this process into an SDK client when the harness started it
// as one, and does not return then. Call it first in main.
func ClientMain() {
	v := os.Getenv(envSDK)
	if v == "" {
		return
	}
	if err := sdkClient(v, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sdk client:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// sdkClient runs one exec per nonce that it reads, all at once over one client,
// and prints "NONCE EXECID" for each.
func sdkClient(config string, in io.Reader, out io.Writer) error {
	address, container, _ := strings.Cut(config, " ")
	c, err := client.New(client.WithHost(address))
	if err != nil {
		return err
	}
	defer c.Close()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	for lines := bufio.NewScanner(in); lines.Scan(); {
		nonce := lines.Text()
		wg.Go(func() {
			id, err := sdkExec(context.Background(), c, container, nonce)
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(out, nonce, id)
			if err != nil && first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return first
}

func sdkExec(ctx context.Context, c *client.Client, container, nonce string) (string, error) {
	exec, err := c.ExecCreate(ctx, container, client.ExecCreateOptions{
		Cmd: tellArgv, Env: []string{envTruth + "=" + nonce}, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return "", err
	}
	stream, err := c.ExecAttach(ctx, exec.ID, client.ExecAttachOptions{})
	if err != nil {
		return exec.ID, err
	}
	defer stream.Close()
	_, err = io.Copy(io.Discard, stream.Reader)
	return exec.ID, err
}
