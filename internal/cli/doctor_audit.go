package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// apiServerPod is where kubeadm keeps the API server's flags.
const apiServerPod = "/etc/kubernetes/manifests/kube-apiserver.yaml"

var auditLogFlag = regexp.MustCompile(`--audit-log-path=([^\s"']+)`)

// checkAudit looks at the API server's audit log: the one that was named, else
// the one of the API server on this host. Other hosts have none, and no line.
func (x *exam) checkAudit(context.Context) []diagnosis {
	path := x.auditLog
	if path == "" {
		pod, err := x.read(apiServerPod)
		if err != nil || !strings.Contains(pod, "kube-apiserver") {
			return nil
		}
		flag := auditLogFlag.FindStringSubmatch(pod)
		if flag == nil {
			return one(diagnosis{
				Check: "kubernetes audit", Grade: gradeDegraded, Found: "the API server of this host writes no audit log",
				Effect: "who asks for a command in a pod is not known",
				Remedy: []string{"sallyport kube audit-policy > /etc/kubernetes/audit-policy.yaml, then give kube-apiserver --audit-policy-file and --audit-log-path"},
			})
		}
		path = flag[1]
	}
	facts, err := x.audit(path)
	d := diagnosis{Check: "kubernetes audit", Grade: gradeOK, Found: fmt.Sprintf("%s: %d events at its end", path, facts.Events)}
	age := x.now().Sub(facts.Newest)
	switch {
	case errors.Is(err, fs.ErrPermission):
		d.Grade, d.Found, d.Remedy = gradeDegraded, err.Error(), []string{"sudo sallyport doctor --audit-log " + path}
	case err != nil:
		d.Grade, d.Found, d.Remedy = gradeDegraded, err.Error(), []string{"name the file of kube-apiserver's --audit-log-path: sallyport doctor --audit-log FILE"}
	case facts.Events > 0 && facts.Malformed == facts.Events:
		d.Grade, d.Found, d.Effect = gradeDegraded, path+" holds no audit events in JSON", "nothing in it can be used"
		d.Remedy = []string{"give kube-apiserver --audit-log-format=json"}
	case facts.Events == 0:
		d.Grade, d.Effect = gradeNote, "whether the audit policy records commands cannot be told yet"
	case age > time.Hour:
		d.Grade, d.Found = gradeDegraded, fmt.Sprintf("%s; the last of them %s ago", d.Found, duration(age))
		d.Effect, d.Remedy = "an API server that does anything writes more often", []string{"name the file that kube-apiserver writes now: ps -o args -C kube-apiserver"}
	case len(facts.Stages) == 0:
		d.Effect = "no exec, attach or port-forward among them yet"
	case facts.Stages[event.KubeReceived] == 0 || facts.Stages[event.KubeStarted] == 0:
		d.Grade, d.Effect = gradeNote, "the audit policy leaves out a stage: a session's begin is seen late or not at all"
		d.Remedy = []string{"sallyport kube audit-policy"}
	}
	if strings.HasSuffix(path, ".gz") {
		d.Grade, d.Effect = gradeDegraded, "a compressed log is not followed"
	}
	return one(d)
}
