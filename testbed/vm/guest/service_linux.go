package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/sallyport/sallyport/testbed/vm"
)

// serve is a service that answers like Docker's, until its input is closed.
func serve([]string) error {
	l, err := net.Listen("unix", vm.Socket)
	if err != nil {
		return err
	}
	if err := os.Chmod(vm.Socket, 0o666); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1.41/containers/{id}/exec", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"Id":"%s"}`+"\n", vm.ExecID)
	})
	mux.HandleFunc("POST /v1.41/exec/{id}/start", func(http.ResponseWriter, *http.Request) {})
	tcp, err := net.Listen("tcp", vm.TCPDoor)
	if err != nil {
		return err
	}
	go http.Serve(l, mux)
	go http.Serve(tcp, mux)
	fmt.Print(ready)
	untilEOF()
	return nil
}

// ask asks the service for an exec, as a client of Docker does, and keeps the
// connection until its input is closed. The arguments are the command and, if
// it is to be by TCP, the address.
func ask(args []string) error {
	network, address := "unix", vm.Socket
	if len(args) > 1 {
		network, address = "tcp", args[1]
	}
	c, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	defer c.Close()
	answers := bufio.NewReader(c)
	create := "/v1.41/containers/" + string(vm.Docker) + "/exec"
	if err := request(c, answers, create, `{"Cmd":["`+args[0]+`"]}`); err != nil {
		return err
	}
	if err := request(c, answers, "/v1.41/exec/"+vm.ExecID+"/start", "{}"); err != nil {
		return err
	}
	fmt.Print(ready)
	untilEOF()
	return nil
}

func request(c net.Conn, answers *bufio.Reader, path, body string) error {
	req, err := http.NewRequest("POST", "http://docker"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if err := req.Write(c); err != nil {
		return err
	}
	answer, err := http.ReadResponse(answers, req)
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return errors.New(answer.Status)
	}
	return answer.Body.Close()
}
