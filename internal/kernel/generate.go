package kernel

// The types of the records come from the C side, so that there is one truth.
// -mcpu=v3 (Linux 5.12) has atomic operations that return a value.
//go:generate go tool -modfile=../../tools/go.mod bpf2go -go-package kernel -tags linux -target amd64,arm64 -type head -type process_id -type identity -type place -type ancestor -type client -type entry_record -type exec_record -type fork_record -type exit_record -type found_record -type connect_record -type wake_record -type segment_record -type open_conn -type endpoint -type accept_record -type close_record -type open_tcp -type port_key sensor ../../bpf/sensor.bpf.c -- -O2 -g -mcpu=v3 -Wall -Werror -I../../bpf
//go:generate go tool -modfile=../../tools/go.mod bpf2go -go-package kernel -tags linux -target amd64,arm64 -type setup -type listener -type file_id -type exe_id -type sighting -type open_listener gate ../../bpf/gate.bpf.c -- -O2 -g -mcpu=v3 -Wall -Werror -I../../bpf
