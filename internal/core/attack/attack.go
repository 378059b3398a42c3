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

// Technique is an ATT&CK technique id, for example "T1609".
type Technique string

// T1609 is Container Administration Command, the technique that the whole
// product is about.
const T1609 Technique = "T1609"

// techniques names T1609 and the neighbours that channels carry.
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
}

// Name returns the technique's name, "" for one that no channel uses.
func (t Technique) Name() string { return techniques[t] }
