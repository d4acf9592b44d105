# The first process of a machine (see Boot). It runs in new mount and network
# namespaces: $1 is the host's directory, $2 its CNI configuration, $3 an empty
# cgroup, $4 the host's name.
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 machine /var/lib
own=/var/lib/machine
mkdir -p "$own/run/lock" "$own/tmp" "$own/upper" "$own/work" "$own$1"
mount --bind "$1" "$own$1"
echo $$ >"$3/cgroup.procs"
exec unshare --cgroup --pid --uts --ipc --kill-child sh -euc '
	own=/var/lib/machine
	read -r pid rest </proc/self/stat # as those outside know it
	hostname "$3"
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys # of this network namespace
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	mkdir /sys/fs/cgroup/init # a cgroup that has processes can give its children no controllers
	echo 0 >/sys/fs/cgroup/init/cgroup.procs
	mount -t overlay overlay -o "lowerdir=/etc,upperdir=$own/upper,workdir=$own/work" /etc
	mount -t tmpfs -o mode=755 machine /opt
	mount --bind "$own/tmp" /var/tmp
	mount --rbind "$own/run" /run
	# What `ip netns` does at its first call: done later, it would hide the
	# namespaces that runtimes have mounted here by then.
	mkdir /run/netns
	mount --bind /run/netns /run/netns
	mount --make-shared /run/netns
	mkdir -p /etc/cni/net.d /opt/cni/bin
	mount --bind "$2" /etc/cni/net.d
	ln -s /usr/lib/cni/* /opt/cni/bin/
	echo "$pid"
	exec >/dev/null
	exec env --ignore-signal=CHLD sleep infinity # orphans leave no zombies
' sh "$1" "$2" "$4"
