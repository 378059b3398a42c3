// Package attack is the catalogue of channels with what this version does about
// each, and the ATT&CK vocabulary that goes with it.
//
// The catalogue is data (channels.json, claims.json), not code. Every claim
// names the tests that prove it; a test of this package fails when a claim
// names no test or one that does not exist. A channel without a claim is
// honestly one that this version does nothing about.
//
// ATT&CK ids and names: © The MITRE Corporation, reproduced and distributed
// with its permission; version 18.1. The package is pure.
package attack

import (
	"maps"
	"slices"
)

// Technique is an ATT&CK technique id, for example "T1609".
type Technique string

// T1609 is Container Administration Command, the technique that the whole
// product is about.
const T1609 Technique = "T1609"

// techniques names T1609, the neighbours that channels carry, and those that
// rules speak of: what comes before and after a command in a container.
var techniques = map[Technique]string{
	T1609:       "Container Administration Command",
	"T1053.007": "Container Orchestration Job",
	"T1055.008": "Ptrace System Calls",
	"T1055.009": "Proc Memory",
	"T1098.006": "Additional Container Cluster Roles",
	"T1525":     "Implant Internal Image",
	"T1610":     "Deploy Container",
	"T1611":     "Escape to Host",
	"T1612":     "Build Image on Host",
	"T1613":     "Container and Resource Discovery",

	"T1014":     "Rootkit",
	"T1021.004": "SSH",
	"T1036.005": "Match Legitimate Resource Name or Location",
	"T1046":     "Network Service Discovery",
	"T1053.003": "Cron",
	"T1059.004": "Unix Shell",
	"T1059.013": "Container CLI/API",
	"T1070":     "Indicator Removal",
	"T1078":     "Valid Accounts",
	"T1105":     "Ingress Tool Transfer",
	"T1133":     "External Remote Services",
	"T1190":     "Exploit Public-Facing Application",
	"T1204.003": "Malicious Image",
	"T1496":     "Resource Hijacking",
	"T1528":     "Steal Application Access Token",
	"T1543.005": "Container Service",
	"T1550.001": "Application Access Token",
	"T1552.001": "Credentials In Files",
	"T1552.005": "Cloud Instance Metadata API",
	"T1552.007": "Container API",
	"T1562.001": "Disable or Modify Tools",
	"T1574.006": "Dynamic Linker Hijacking",
	"T1620":     "Reflective Code Loading",
}

// Name returns the technique's name, "" for one that is not in the vocabulary.
func (t Technique) Name() string { return techniques[t] }

// Techniques returns the vocabulary, in order.
func Techniques() []Technique { return slices.Sorted(maps.Keys(techniques)) }
