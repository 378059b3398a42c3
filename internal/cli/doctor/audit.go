package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/cli/host"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/internal/lib/wording"
	"github.com/sallyport/sallyport/internal/watch"
)

// apiServerPod is where kubeadm keeps the API server's flags.
const apiServerPod = "/etc/kubernetes/manifests/kube-apiserver.yaml"

var auditLogFlag = regexp.MustCompile(`--audit-log-path=([^\s"']+)`)

// checkAudit looks at the API server's audit log: the one that was named, else
// the one of the API server on this host. Other hosts have none, and no line.
func (x *exam) checkAudit(context.Context) []diagnosis {
	path := x.conf.AuditLog
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
	d := diagnosis{Check: "kubernetes audit", Grade: gradeOK, Found: fmt.Sprintf("%s: %d events at its end", path, facts.Events), gives: []attack.Need{attack.NeedAudit}}
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
		d.Grade, d.Found = gradeDegraded, fmt.Sprintf("%s; the last of them %s ago", d.Found, wording.Duration(age))
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

// canaryWait is how long doctor waits for its canary: the log of an API server
// on this host has it at once, a copy of one later.
const canaryWait = 3 * time.Second

// checkCanary reports whether what is asked of the API server comes through: as
// the running up has found, else by a canary of its own. Nothing where there is no
// audit or nobody to ask.
func (x *exam) checkCanary(ctx context.Context) []diagnosis {
	s, err := x.running()
	if err == nil && s != nil {
		if i := slices.IndexFunc(s.Witnesses, func(w watch.WitnessStatus) bool { return w.Name == event.WitnessAudit }); i >= 0 {
			return one(feedDiagnosis(s, &s.Witnesses[i]))
		}
	}
	if x.kube == nil || x.conf.AuditLog == "" {
		return nil
	}
	return x.sendCanary(ctx)
}

// silentFeed is what to do about a feed in which canaries do not come back.
var silentFeed = []string{
	"sallyport kube audit-policy prints a policy that records pods/exec: compare it with kube-apiserver's --audit-policy-file",
	"name the file that kube-apiserver writes now, or give it the webhook's kubeconfig: ps -o args -C kube-apiserver",
}

// feedDiagnosis reports how the audit is that the running up receives.
func feedDiagnosis(s *watch.Status, w *watch.WitnessStatus) diagnosis {
	canaries, dropped := s.Counters["audit_canaries"], s.Counters["audit_dropped"]
	d := diagnosis{
		Check: "audit canary", Grade: gradeOK, Found: fmt.Sprintf("sallyport up receives the audit: canaries that came back: %d", canaries),
		gives: []attack.Need{attack.NeedAudit},
	}
	switch {
	case !w.Up:
		d.Grade, d.Found, d.Effect, d.Remedy = gradeDegraded, "sallyport up does not receive the audit: "+w.Reason, "who asks for a command in a pod is not known", silentFeed
		d.gives = nil
	case dropped > 0:
		d.Grade, d.Effect = gradeDegraded, fmt.Sprintf("the API server has dropped %d audit events", dropped)
		d.Remedy = []string{"look at kube-apiserver's log for \"Error in audit plugin\"; the log file (--audit-log-path) has no such limit as the webhook"}
	case canaries == 0:
		d.Grade, d.Found = gradeNote, "sallyport up receives the audit, as far as it knows: no canary has come back"
		d.Effect, d.Remedy = w.Reason, []string{"start it with --kubeconfig FILE: it then sends a canary every " + host.CanaryEvery.String()}
	case w.Reason != "":
		d.Grade, d.Effect = gradeNote, w.Reason
	}
	return d
}

// sendCanary asks the API server for a command in a pod that does not exist, and
// looks for that in its log.
func (x *exam) sendCanary(ctx context.Context) []diagnosis {
	key, _ := statedir.File(filepath.Join(x.conf.State, statedir.AuditCanary)).Load() // without it up would tell of this request
	token := audit.CanaryToken(key)
	if _, _, err := x.kube(ctx, audit.CanaryURI(token)); err != nil {
		return nil // checkKube says it
	}
	began := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for time.Since(began) < canaryWait {
		switch seen, err := audit.Shows(x.conf.AuditLog, token); {
		case err != nil:
			return nil // checkAudit says it
		case seen:
			return one(diagnosis{
				Check: "audit canary", Grade: gradeOK, Found: fmt.Sprintf("a request for a command was in the log within %s", time.Since(began).Round(10*time.Millisecond)),
				gives: []attack.Need{attack.NeedAudit},
			})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	return one(diagnosis{
		Check: "audit canary", Grade: gradeDegraded, Found: fmt.Sprintf("a request for a command was not in the log within %s", canaryWait),
		Effect: "who asks for a command in a pod is not known, or late", Remedy: silentFeed,
	})
}
