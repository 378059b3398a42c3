// Command cri asks a CRI runtime as crictl does, which is to be had as no Go module
// with a checksum:
//
//	cri SOCKET METHOD [REQUEST]
//
// REQUEST is JSON, with the names of the API's fields. What the runtime answers is
// printed as JSON, of a command what that says.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// call is a method's request and response.
type call struct{ in, out any }

var calls = map[string]call{
	"Version":         {new(cri.VersionRequest), new(cri.VersionResponse)},
	"RunPodSandbox":   {new(cri.RunPodSandboxRequest), new(cri.RunPodSandboxResponse)},
	"CreateContainer": {new(cri.CreateContainerRequest), new(cri.CreateContainerResponse)},
	"StartContainer":  {new(cri.StartContainerRequest), new(cri.StartContainerResponse)},
	"ExecSync":        {new(cri.ExecSyncRequest), new(cri.ExecSyncResponse)},
	"Exec":            {new(cri.ExecRequest), new(cri.ExecResponse)},
}

func main() {
	if len(os.Args) < 3 || calls[os.Args[2]].in == nil {
		fmt.Fprintln(os.Stderr, "usage: cri SOCKET METHOD [REQUEST]")
		os.Exit(2)
	}
	request := "{}"
	if len(os.Args) > 3 {
		request = os.Args[3]
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], request); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, socket, method, request string) error {
	c := calls[method]
	if err := json.Unmarshal([]byte(request), c.in); err != nil {
		return err
	}
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Invoke(ctx, "/runtime.v1.RuntimeService/"+method, c.in, c.out); err != nil {
		return err
	}
	switch out := c.out.(type) {
	case *cri.ExecResponse:
		return stream(ctx, out.GetUrl())
	case *cri.ExecSyncResponse:
		os.Stdout.Write(out.GetStdout())
		os.Stderr.Write(out.GetStderr())
		os.Exit(int(out.GetExitCode()))
	}
	return json.NewEncoder(os.Stdout).Encode(c.out)
}

// stream meets what Exec gave the address of.
func stream(ctx context.Context, address string) error {
	at, err := url.Parse(address)
	if err != nil {
		return err
	}
	e, err := remotecommand.NewSPDYExecutor(&rest.Config{}, "POST", at)
	if err != nil {
		return err
	}
	return e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: os.Stdout, Stderr: os.Stderr})
}
