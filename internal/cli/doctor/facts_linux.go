package doctor

import "golang.org/x/sys/unix"

// spaceIn reports whether dir can be written by this user, and how much space
// such a user has in it.
func spaceIn(dir string) (writable bool, free uint64) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err == nil {
		free = st.Bavail * uint64(st.Bsize)
	}
	return unix.Access(dir, unix.W_OK|unix.X_OK) == nil, free
}

// clockSynced reports whether the kernel believes its clock to be synchronised.
func clockSynced() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return state != unix.TIME_ERROR, err
}
