package doctor

import (
	"context"
	"fmt"

	"github.com/sallyport/sallyport/internal/core/attack"
)

func (x *exam) checkContainerd(ctx context.Context) []diagnosis {
	address, err := x.find()
	if err != nil && x.crio != nil {
		return nil // another runtime is this host's
	}
	if err != nil {
		return one(noContainerd(err, x.uid))
	}
	version, err := x.containerd(ctx, address)
	if err != nil {
		return one(noContainerd(fmt.Errorf("%s: %w", address, err), x.uid))
	}
	return one(diagnosis{
		Check: "containerd", Grade: gradeOK, Found: fmt.Sprintf("version %s, at %s", version, address),
		gives: []attack.Need{attack.NeedContainerd},
	})
}

func (x *exam) checkCRIO(ctx context.Context) []diagnosis {
	if x.crio == nil {
		return nil
	}
	found, err := x.crio(ctx)
	if err == nil {
		return one(diagnosis{Check: "CRI-O", Grade: gradeOK, Found: found})
	}
	d := diagnosis{
		Check: "CRI-O", Grade: gradeMissing, Found: err.Error(),
		Effect: "its containers have no names unless the API server is asked", Remedy: []string{"sudo systemctl start crio"},
	}
	if x.uid != 0 {
		d.Remedy = []string{"sudo sallyport doctor"}
	}
	return one(d)
}

func noContainerd(err error, uid int) diagnosis {
	d := diagnosis{
		Check: "containerd", Grade: gradeMissing, Found: err.Error(),
		Effect: "exec ids are not tied to processes, and what goes beside Docker (ctr) is not told from it",
		Remedy: []string{"name its socket: sallyport doctor --containerd /run/containerd/containerd.sock"},
	}
	if uid != 0 {
		d.Remedy = []string{"sudo sallyport doctor"}
	}
	return d
}
