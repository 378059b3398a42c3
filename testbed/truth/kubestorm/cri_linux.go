package kubestorm

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

// runtimeClient asks a CRI runtime as crictl does. The few messages that it needs
// (runtime/v1/api.proto of k8s.io/cri-api) are written and read by hand.
type runtimeClient struct{ conn *grpc.ClientConn }

func dialRuntime(socket string) (runtimeClient, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{})))
	return runtimeClient{conn}, err
}

func (r runtimeClient) close() error { return r.conn.Close() }

// execSync returns what the command prints.
func (r runtimeClient) execSync(ctx context.Context, container string, argv []string) (string, error) {
	var out []byte
	in := appendArgv(appendText(nil, 1, container), argv)
	if err := r.conn.Invoke(ctx, "/runtime.v1.RuntimeService/ExecSync", in, &out); err != nil {
		return "", err
	}
	return text(out, 1)
}

// exec returns the URL at which the command can be met.
func (r runtimeClient) exec(ctx context.Context, container string, argv []string) (string, error) {
	var out []byte
	in := appendArgv(appendText(nil, 1, container), argv)
	in = protowire.AppendVarint(protowire.AppendTag(in, 5, protowire.VarintType), 1) // stdout
	if err := r.conn.Invoke(ctx, "/runtime.v1.RuntimeService/Exec", in, &out); err != nil {
		return "", err
	}
	return text(out, 1)
}

func appendText(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func appendArgv(b []byte, argv []string) []byte {
	for _, a := range argv {
		b = appendText(b, 2, a)
	}
	return b
}

// text returns a field of text, "" when it is absent.
func text(message []byte, field protowire.Number) (string, error) {
	for len(message) > 0 {
		n, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return "", protowire.ParseError(size)
		}
		message = message[size:]
		if n == field && kind == protowire.BytesType {
			b, size := protowire.ConsumeBytes(message)
			return string(b), protowire.ParseError(min(size, 0))
		}
		if size = protowire.ConsumeFieldValue(n, kind, message); size < 0 {
			return "", protowire.ParseError(size)
		}
		message = message[size:]
	}
	return "", nil
}

// plain lets messages through as they are.
type plain struct{}

func (plain) Name() string { return "" } // CRI-O hangs up on "application/grpc+proto"

func (plain) Marshal(v any) ([]byte, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("message of type %T", v)
	}
	return b, nil
}

func (plain) Unmarshal(b []byte, v any) error {
	to, ok := v.(*[]byte)
	if !ok {
		return errors.New("message for nobody")
	}
	*to = append([]byte(nil), b...)
	return nil
}
