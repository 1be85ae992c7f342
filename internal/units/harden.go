package units

// harden takes away what an announcer does not need, as announce.service does. It is a user of
// its own while it runs; the group may use Docker's socket, which is as good as root.
func harden(u *Unit) {
	u.comment("Service", "A user of its own, that exists while it runs. The group may use Docker's socket, as good as root;",
		"Podman's has another group, or needs User=root in a drop-in. The directory remembers the lease, so that",
		"a start after a crash takes the record up: each announcer has its own.")
	for _, o := range [][2]string{
		{"DynamicUser", "yes"},
		{"SupplementaryGroups", "docker"},
		{"StateDirectory", "rollcall-%p-%i"},
		{"StateDirectoryMode", "0700"},
		{"CapabilityBoundingSet", ""},
		{"UMask", "0077"},
		{"ProtectSystem", "strict"},
		{"ProtectHome", "yes"},
		{"ProtectProc", "invisible"},
		{"ProcSubset", "pid"},
		{"PrivateTmp", "yes"},
		{"PrivateMounts", "yes"},
		{"PrivateDevices", "yes"},
		{"DevicePolicy", "closed"},
		{"ProtectHostname", "yes"},
		{"ProtectClock", "yes"},
		{"ProtectKernelTunables", "yes"},
		{"ProtectKernelModules", "yes"},
		{"ProtectKernelLogs", "yes"},
		{"ProtectControlGroups", "yes"},
		{"RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"},
		{"RestrictNamespaces", "yes"},
		{"RestrictRealtime", "yes"},
		{"RestrictSUIDSGID", "yes"},
		{"LockPersonality", "yes"},
		{"MemoryDenyWriteExecute", "yes"},
		{"NoNewPrivileges", "yes"},
		{"RemoveIPC", "yes"},
		{"KeyringMode", "private"},
		{"SystemCallArchitectures", "native"},
		{"SystemCallFilter", "@system-service"},
		{"SystemCallFilter", "~@privileged @resources"},
		{"SystemCallErrorNumber", "EPERM"},
	} {
		u.set("Service", o[0], o[1])
	}
}
