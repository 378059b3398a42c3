package kubestorm

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/sallyport/sallyport/testbed/kube"
	"github.com/sallyport/sallyport/testbed/truth"
)

// object is a manifest.
type object map[string]any

func (o object) text() string {
	b, _ := json.Marshal(o) // it has no way to fail
	return string(b)
}

// podSpec says to the socket name in "own", and then lives on or not.
func (s *scene) podSpec(name string, lives bool) object {
	argv, policy := []string{"/bin/actor", "say", "/truth/" + name}, "Never"
	if lives {
		argv, policy = append(argv, "sleep", "100000000"), "Always"
	}
	return object{
		"terminationGracePeriodSeconds": 0, "restartPolicy": policy,
		"containers": []object{{
			"name": "main", "image": kube.Image, "command": argv,
			"volumeMounts": []object{{"name": "own", "mountPath": "/truth"}},
		}},
		"volumes": []object{{"name": "own", "hostPath": object{"path": filepath.Join(s.dir, "own")}}},
	}
}

// create posts an object as p.
func (s *scene) create(ctx context.Context, c client, api, resource, kind, name string, spec object) error {
	prefix := "/apis/" + api
	if api == "v1" {
		prefix = "/api/v1"
	}
	o := object{"apiVersion": api, "kind": kind, "metadata": object{"name": name}, "spec": spec}
	if _, err := c.do(ctx, "POST", prefix+"/namespaces/"+s.ns+"/"+resource, "application/json", o.text()); err != nil {
		return fmt.Errorf("create %s: %w", kind, err)
	}
	return nil
}

func pod(ctx context.Context, s *scene, p *person) error {
	name, err := s.socket()
	if err != nil {
		return err
	}
	d := s.begin(Pod, "", p.is())
	if err := s.create(ctx, p.api, "v1", "pods", "Pod", "pod-"+name, s.podSpec(name, false)); err != nil {
		return err
	}
	return s.awaitSaid(ctx, d, name)
}

// controller makes pods for others; whoever made it, or who makes the pods, is
// right.
func controller(name string, p *person) []truth.Person {
	return []truth.Person{{User: "system:serviceaccount:kube-system:" + name}, p.is()}
}

func deployment(ctx context.Context, s *scene, p *person) error {
	name, err := s.socket()
	if err != nil {
		return err
	}
	change, run := s.begin(Deployment, "", p.is()), s.begin(Deployed, "", controller("replicaset-controller", p)...)
	labels := object{"app": name}
	spec := object{
		"selector": object{"matchLabels": labels},
		"template": object{"metadata": object{"labels": labels}, "spec": s.podSpec(name, true)},
	}
	if err := s.create(ctx, p.api.with(s.auditID(&change)), "apps/v1", "deployments", "Deployment", "deploy-"+name, spec); err != nil {
		return err
	}
	s.note(change)
	return s.awaitSaid(ctx, run, name)
}

func job(ctx context.Context, s *scene, p *person) error {
	name, err := s.socket()
	if err != nil {
		return err
	}
	d := s.begin(Job, "", controller("job-controller", p)...)
	spec := object{"template": object{"spec": s.podSpec(name, false)}}
	if err := s.create(ctx, p.api, "batch/v1", "jobs", "Job", "job-"+name, spec); err != nil {
		return err
	}
	return s.awaitSaid(ctx, d, name)
}

// cronJob makes one that is due once a year.
func cronJob(ctx context.Context, s *scene, p *person) error {
	d := s.begin(CronJob, "", p.is())
	spec := object{"schedule": "0 0 1 1 *", "jobTemplate": object{"spec": object{"template": object{"spec": s.podSpec("none", false)}}}}
	name := "cron-" + strconv.Itoa(s.next())
	if err := s.create(ctx, p.api.with(s.auditID(&d)), "batch/v1", "cronjobs", "CronJob", name, spec); err != nil {
		return err
	}
	s.note(d)
	return nil
}

// staticPod puts a file where the kubelet looks for pods.
func staticPod(ctx context.Context, s *scene, _ *person) error {
	name, err := s.socket()
	if err != nil {
		return err
	}
	d := s.begin(StaticPod, "", truth.Person{User: "system:node:" + s.node.Name})
	o := object{
		"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": "static-" + name, "namespace": s.ns}, "spec": s.podSpec(name, false),
	}
	file := filepath.Join(s.node.StaticPods, name+".json")
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(o.text()), 0o644); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(s.dir, name), file); err != nil {
		return err
	}
	s.mu.Lock()
	s.static = append(s.static, file)
	s.mu.Unlock()
	return s.awaitSaid(ctx, d, name)
}

// ephemeral puts a container beside the others of web.
func ephemeral(ctx context.Context, s *scene, p *person) error {
	name, err := s.socket()
	if err != nil {
		return err
	}
	d := s.begin(Ephemeral, "", p.is())
	d.Name = "eph-" + name
	patch := object{"spec": object{"ephemeralContainers": []object{{
		"name": d.Name, "image": kube.Image, "command": []string{"/bin/actor", "say", "/truth/" + name},
		"targetContainerName": "side", "volumeMounts": []object{{"name": "own", "mountPath": "/truth"}},
	}}}}
	if _, err := p.api.do(ctx, "PATCH", s.path("web", "/ephemeralcontainers"), "application/strategic-merge-patch+json", patch.text()); err != nil {
		return fmt.Errorf("%s: %w", d.Door, err)
	}
	return s.awaitSaid(ctx, d, name)
}

func debugPod(ctx context.Context, s *scene, p *person) error {
	d := s.begin(DebugPod, "", p.is())
	d.Name = "dbg-" + strconv.Itoa(s.next())
	if _, err := s.kubectl(ctx, p, nil, "debug", "web", "--image="+kube.Image, "--container="+d.Name, "--target=side",
		"--profile=general", "--", "/bin/actor", "sleep", "100"); err != nil {
		return fmt.Errorf("%s: %w", d.Door, err)
	}
	s.note(d)
	return nil
}

func debugNode(ctx context.Context, s *scene, p *person) error {
	name, err := s.socket()
	if err != nil {
		return err
	}
	d := s.begin(DebugNode, "", p.is())
	if _, err := s.kubectl(ctx, p, nil, "debug", "node/"+s.node.Name, "--image="+kube.Image, "--profile=general", "--",
		"/bin/actor", "say", "/host"+filepath.Join(s.dir, "own", name)); err != nil {
		return fmt.Errorf("%s: %w", d.Door, err)
	}
	return s.awaitSaid(ctx, d, name)
}
