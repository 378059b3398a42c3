package admission

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/podspec"
)

// bodyMax bounds an AdmissionReview. The API server takes objects of 3 MiB, and
// an update carries two of them.
const bodyMax = 8 << 20

// errNoRequest says that a review asks nothing.
var errNoRequest = errors.New("no request in it")

// decode reads an AdmissionReview. news is false for what concerns no command:
// other resources, and changes that leave the commands as they were. uid is
// known whenever the answer can be given at all.
func decode(body []byte) (uid string, o event.KubeAdmission, news bool, err error) {
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil {
		return "", o, false, fmt.Errorf("decode admission review: %w", err)
	}
	q := review.Request
	if q == nil || q.UID == "" || review.APIVersion != "admission.k8s.io/v1" {
		return "", o, false, fmt.Errorf("decode admission review: %w", errNoRequest)
	}
	o = event.KubeAdmission{
		UID: string(q.UID), User: user(&q.UserInfo), Namespace: q.Namespace, DryRun: q.DryRun != nil && *q.DryRun,
	}
	if q.Operation == admissionv1.Connect {
		news, err = connect(q, &o)
	} else {
		news, err = change(q, &o)
	}
	if err != nil {
		err = fmt.Errorf("decode admission review of %s/%s: %w", q.Resource.Resource, q.SubResource, err)
	}
	return o.UID, o, news && err == nil, err
}

func user(u *authenticationv1.UserInfo) event.KubeUser {
	out := event.KubeUser{Name: u.Username, UID: u.UID, Groups: u.Groups}
	if len(u.Extra) > 0 {
		out.Extra = make(map[string][]string, len(u.Extra))
		for k, v := range u.Extra {
			out.Extra[k] = v
		}
	}
	return out
}

// connect reads a request that opens a stream or a proxy.
func connect(q *admissionv1.AdmissionRequest, o *event.KubeAdmission) (news bool, err error) {
	o.Pod = q.Name
	switch q.Resource.Resource + "/" + q.SubResource {
	case "pods/exec":
		var opts corev1.PodExecOptions
		err = json.Unmarshal(q.Object.Raw, &opts)
		o.Op, o.Container, o.Argv, o.TTY, o.Stdin = event.KubeExec, opts.Container, opts.Command, opts.TTY, opts.Stdin
	case "pods/attach":
		var opts corev1.PodAttachOptions
		err = json.Unmarshal(q.Object.Raw, &opts)
		o.Op, o.Container, o.TTY, o.Stdin = event.KubeAttach, opts.Container, opts.TTY, opts.Stdin
	case "pods/portforward":
		o.Op = event.KubePortForward
	case "pods/proxy":
		o.Op = event.KubePodProxy
		o.Path, err = path(q)
	case "services/proxy":
		o.Op, o.Pod = event.KubeServiceProxy, ""
		o.Path, err = path(q)
		o.Object = &event.KubeObject{Kind: "Service", Namespace: q.Namespace, Name: q.Name}
	case "nodes/proxy":
		o.TargetNode, o.Pod = q.Name, ""
		o.Path, err = path(q)
		node(o)
	default:
		return false, nil
	}
	return true, err
}

// path returns what is proxied to. The query is not part of it (channels.md
// §4.2), so neither is the command of /run or /exec.
func path(q *admissionv1.AdmissionRequest) (string, error) {
	var opts struct {
		Path string `json:"path"`
	}
	err := json.Unmarshal(q.Object.Raw, &opts)
	return opts.Path, err
}

// node says what of a kubelet a path on nodes/proxy asks for:
// /exec/NAMESPACE/POD[/UID]/CONTAINER and the like (kubernetes v1.37.2,
// pkg/kubelet/server/server.go).
func node(o *event.KubeAdmission) {
	part := strings.Split(strings.Trim(o.Path, "/"), "/")
	ops := map[string]event.KubeOp{
		"exec": event.KubeNodeExec, "run": event.KubeNodeRun, "attach": event.KubeNodeAttach, "portForward": event.KubeNodeForward,
	}
	o.Op = event.KubeNodeProxy
	op, ok := ops[part[0]]
	if !ok {
		return
	}
	o.Op = op
	if len(part) >= 3 {
		o.Namespace, o.Pod = part[1], part[2]
	}
	if len(part) >= 4 && op != event.KubeNodeForward {
		o.Container = part[len(part)-1]
	}
}

// workload is any object that carries pods: a pod template, that of a cron
// job's jobs, or a pod itself.
type workload struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name         string            `json:"name"`
		GenerateName string            `json:"generateName"`
		UID          string            `json:"uid"`
		Labels       map[string]string `json:"labels"`
		Annotations  map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec     json.RawMessage `json:"spec"`
	Template *template       `json:"template"` // of a PodTemplate
}

type template struct {
	Spec corev1.PodSpec `json:"spec"`
}

// change reads a request that creates or changes a pod or what makes pods.
func change(q *admissionv1.AdmissionRequest, o *event.KubeAdmission) (news bool, err error) {
	pod := q.Resource.Group == "" && q.Resource.Resource == "pods"
	switch {
	case pod && q.SubResource == "ephemeralcontainers":
		o.Op = event.KubeEphemeral
	case q.SubResource != "" || q.Operation != admissionv1.Create && q.Operation != admissionv1.Update:
		return false, nil
	case pod:
		o.Op = event.KubePodChange
	default:
		o.Op = event.KubeWorkload
	}
	now, err := object(q.Object.Raw, q.Namespace)
	if err != nil {
		return false, err
	}
	o.Object = now
	if pod {
		o.Pod = now.Name
	}
	if q.Operation != admissionv1.Update {
		return true, nil
	}
	old, err := object(q.OldObject.Raw, q.Namespace)
	if err != nil {
		return true, nil // better one too many
	}
	if o.Op == event.KubeEphemeral {
		return added(o, old), nil
	}
	return !reflect.DeepEqual(old, now), nil
}

// added leaves in o the ephemeral containers that old has not.
func added(o *event.KubeAdmission, old *event.KubeObject) bool {
	o.Object.Containers = slices.DeleteFunc(o.Object.Containers, func(c event.KubeContainer) bool {
		return c.Kind != event.KubeEphemeralDebug ||
			slices.ContainsFunc(old.Containers, func(k event.KubeContainer) bool { return k.Kind == c.Kind && k.Name == c.Name })
	})
	if len(o.Object.Containers) == 0 {
		return false
	}
	c := o.Object.Containers[0]
	o.Container, o.TTY, o.Stdin = c.Name, c.TTY, c.Stdin
	return true
}

// object reads what of an object carries commands.
func object(raw []byte, namespace string) (*event.KubeObject, error) {
	var w workload
	if err := json.Unmarshal(raw, &w); err != nil {
		return nil, err
	}
	spec, err := w.podSpec()
	if err != nil {
		return nil, err
	}
	return &event.KubeObject{
		Kind: w.Kind, Namespace: namespace, Name: w.Metadata.Name, UID: w.Metadata.UID, Containers: podspec.Containers(spec),
		NodeName: spec.NodeName, HostAccess: podspec.HostAccess(spec), Mirror: podspec.Static(w.Metadata.Annotations), Debug: podspec.Debug(w.Metadata.Labels),
	}, nil
}

func (w *workload) podSpec() (*corev1.PodSpec, error) {
	switch w.Kind {
	case "Pod":
		var spec corev1.PodSpec
		err := json.Unmarshal(w.Spec, &spec)
		return &spec, err
	case "PodTemplate":
		if w.Template == nil {
			return &corev1.PodSpec{}, nil
		}
		return &w.Template.Spec, nil
	case "CronJob":
		var spec struct {
			JobTemplate struct {
				Spec struct {
					Template template `json:"template"`
				} `json:"spec"`
			} `json:"jobTemplate"`
		}
		err := json.Unmarshal(w.Spec, &spec)
		return &spec.JobTemplate.Spec.Template.Spec, err
	}
	var spec struct {
		Template template `json:"template"`
	}
	err := json.Unmarshal(w.Spec, &spec)
	return &spec.Template.Spec, err
}
