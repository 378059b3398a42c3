package objects

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// standards are the Pod Security Standards, as Kubernetes' admission has them.
var standards = sync.OnceValue(func() policy.Evaluator {
	e, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		panic(err) // its own checks do not agree with each other
	}
	return e
})

// security holds a pod against the Pod Security Standards of the server's version.
func (l *Loader) security(spec *corev1.PodSpec, annotations map[string]string) *inventory.PodSecurity {
	spec = defaulted(spec)
	out := &inventory.PodSecurity{Version: cmp.Or(l.opts.Version, l.cluster.Version, Newest)}
	against := func(level api.Level) []policy.CheckResult {
		v := api.LevelVersion{Level: level, Version: api.MajorMinorVersion(out.Version.Major, out.Version.Minor)}
		all := standards().EvaluatePod(v, &metav1.ObjectMeta{Annotations: annotations}, spec)
		return slices.DeleteFunc(all, func(r policy.CheckResult) bool { return r.Allowed })
	}
	baseline := against(api.LevelBaseline)
	var names, more []string
	for _, r := range baseline {
		names = append(names, fmt.Sprintf("%s (%s)", r.ForbiddenReason, r.ForbiddenDetail))
	}
	for _, r := range against(api.LevelRestricted) {
		if !slices.Contains(baseline, r) {
			more = append(more, r.ForbiddenReason)
		}
	}
	out.Baseline, out.Restricted = l.shareList(names), l.shareList(more)
	return out
}

// defaulted returns a specification as an API server takes it: a volume that names no
// source is an emptyDir (k8s.io/kubernetes pkg/apis/core/v1, SetDefaults_Volume). No other
// default matters to the standards.
func defaulted(spec *corev1.PodSpec) *corev1.PodSpec {
	none := func(v corev1.Volume) bool { return v.VolumeSource == corev1.VolumeSource{} }
	if !slices.ContainsFunc(spec.Volumes, none) {
		return spec
	}
	out := *spec
	out.Volumes = slices.Clone(spec.Volumes)
	for i := range out.Volumes {
		if none(out.Volumes[i]) {
			out.Volumes[i].EmptyDir = &corev1.EmptyDirVolumeSource{}
		}
	}
	return &out
}

// shareList returns the same list for equal ones: most pods have many like them.
func (l *Loader) shareList(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	key := strings.Join(list, "\x00")
	if known, ok := l.controls[key]; ok {
		return known
	}
	l.controls[key] = list
	return list
}
