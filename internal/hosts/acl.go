package hosts

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// The form of the attribute system.posix_acl_access: a version and entries of tag,
// permissions and id, little-endian (linux/posix_acl_xattr.h).
const (
	aclVersion   = 2
	aclHead      = 4
	aclEntrySize = 8
	aclMax       = 64 << 10 // bytes: what an attribute can hold
	aclUserObj   = 0x01
	aclUser      = 0x02
	aclGroupObj  = 0x04
	aclGroup     = 0x08
	aclMask      = 0x10
	aclOther     = 0x20
)

var errACL = errors.New("no POSIX access control list")

// ACL parses the attribute system.posix_acl_access. It returns the entries that the
// mode does not have, as getfacl writes them: "user:bob:rw-", "group::r--",
// "mask::rw-". With a mask, the mode's group bits are the mask and not the group's,
// so the group's own are among them. Users and groups that are not known are
// numbers.
func ACL(b []byte, users []inventory.Account, groups []inventory.UnixGroup) ([]string, error) {
	if len(b) < aclHead || len(b) > aclMax || (len(b)-aclHead)%aclEntrySize != 0 || binary.LittleEndian.Uint32(b) != aclVersion {
		return nil, errACL
	}
	var out []string
	var masked bool
	var own string
	for b = b[aclHead:]; len(b) > 0; b = b[aclEntrySize:] {
		tag, perm, id := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:]), binary.LittleEndian.Uint32(b[4:])
		if perm > 7 {
			return nil, fmt.Errorf("%w: permissions %#x", errACL, perm)
		}
		switch tag {
		case aclUser:
			out = append(out, "user:"+userName(id, users)+":"+permissions(perm))
		case aclGroup:
			out = append(out, "group:"+groupName(id, groups)+":"+permissions(perm))
		case aclGroupObj:
			own = "group::" + permissions(perm)
		case aclMask:
			masked = true
			out = append(out, "mask::"+permissions(perm))
		case aclUserObj, aclOther:
		default:
			return nil, fmt.Errorf("%w: entry of kind %#x", errACL, tag)
		}
	}
	if masked {
		out = append(out, own)
	}
	return out, nil
}

func permissions(p uint16) string {
	out := []byte("rwx")
	for i := range out {
		if p&(4>>i) == 0 {
			out[i] = '-'
		}
	}
	return string(out)
}

func userName(id uint32, users []inventory.Account) string {
	if i := slices.IndexFunc(users, func(u inventory.Account) bool { return u.UID == id }); i >= 0 {
		return users[i].Name
	}
	return strconv.FormatUint(uint64(id), 10)
}

func groupName(id uint32, groups []inventory.UnixGroup) string {
	if i := slices.IndexFunc(groups, func(g inventory.UnixGroup) bool { return g.GID == id }); i >= 0 {
		return groups[i].Name
	}
	return strconv.FormatUint(uint64(id), 10)
}
