package event

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// WireVersion is the version of the JSON form of observations. History:
//
//	1  2026-11  first
const WireVersion = 1

// prototypes lists every observation under its name on the wire. A test holds
// it complete.
var prototypes = map[string]Observation{
	"session_entry":     SessionEntry{},
	"process_exec":      ProcessExec{},
	"process_fork":      ProcessFork{},
	"process_exit":      ProcessExit{},
	"client_connect":    ClientConnect{},
	"client_close":      ClientClose{},
	"docker_event":      DockerEvent{},
	"docker_container":  DockerContainer{},
	"docker_exec":       DockerExec{},
	"docker_request":    DockerRequest{},
	"docker_answer":     DockerAnswer{},
	"runtime_event":     RuntimeEvent{},
	"runtime_task":      RuntimeTask{},
	"runtime_request":   RuntimeRequest{},
	"runtime_container": RuntimeContainer{},
	"decision":          Decision{},
	"gate_sighting":     GateSighting{},
	"kube_request":      KubeRequest{},
	"kube_admission":    KubeAdmission{},
	"kube_pod":          KubePod{},
	"progress":          Progress{},
	"clock":             Clock{},
	"witness_state":     WitnessState{},
	"loss":              Loss{},
	"tick":              Tick{},
	"host":              Host{},
}

var nameOf = func() map[reflect.Type]string {
	m := make(map[reflect.Type]string, len(prototypes))
	for name, o := range prototypes {
		m[reflect.TypeOf(o)] = name
	}
	return m
}()

// Name returns the observation's name on the wire, for example "process_exec".
func Name(o Observation) string { return nameOf[reflect.TypeOf(o)] }

// Marshal returns the wire form of o: one JSON object of one key, the
// observation's name. It loses nothing: Unmarshal gives back an equal value.
func Marshal(o Observation) ([]byte, error) {
	name := Name(o)
	if name == "" {
		return nil, fmt.Errorf("marshal observation: unknown type %T", o)
	}
	body, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("marshal %s: %w", name, err)
	}
	out := make([]byte, 0, len(name)+len(body)+5)
	out = append(out, `{"`...)
	out = append(out, name...)
	out = append(out, `":`...)
	out = append(out, body...)
	return append(out, '}'), nil
}

// Unmarshal parses the wire form. An unknown name is an error.
func Unmarshal(b []byte) (Observation, error) {
	var env map[string]json.RawMessage
	if err := json.Unmarshal(b, &env); err != nil {
		return nil, fmt.Errorf("unmarshal observation: %w", err)
	}
	if len(env) != 1 {
		return nil, fmt.Errorf("unmarshal observation: want an object of one key, got %d", len(env))
	}
	for name, body := range env {
		proto, ok := prototypes[name]
		if !ok {
			return nil, fmt.Errorf("unmarshal observation: unknown kind %q", name)
		}
		v := reflect.New(reflect.TypeOf(proto))
		if err := json.Unmarshal(body, v.Interface()); err != nil {
			return nil, fmt.Errorf("unmarshal %s: %w", name, err)
		}
		return v.Elem().Interface().(Observation), nil
	}
	panic("unreachable")
}
