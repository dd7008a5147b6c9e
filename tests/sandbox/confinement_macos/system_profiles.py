"""Stand-ins for Apple's ``system.sb``, which a profile imports and which differs from macOS to macOS."""

NOTHING = "(version 1)"
"""Allows nothing: what a zygote needs must not hang on Apple's profile."""

USUAL = """\
(version 1)
(allow mach-register (local-name-regex #""))
(allow file-read* (subpath "/System/Library") (subpath "/usr/lib") (subpath "/usr/share"))
(allow file-read-metadata (literal "/etc") (literal "/tmp") (literal "/var"))
(allow file-read* (literal "/private/etc/passwd") (literal "/private/etc/services") (literal "/dev/random"))
(allow file-read* file-write-data (literal "/dev/null") (literal "/dev/zero"))
(allow file-read* file-write-data file-ioctl (literal "/dev/dtracehelper"))
(allow network-outbound (literal "/private/var/run/syslog"))
(allow file-write-create (subpath "/cores"))
(allow ipc-posix-shm-read* (ipc-posix-name "apple.shm.notification_center"))
(allow mach-lookup (global-name "com.apple.cfprefsd.agent") (global-name "com.apple.trustd.agent"))
(allow sysctl-read)
"""
"""The kind of thing that Apple's profile allows, by filters on particular operations."""

GENEROUS = """\
(version 1)
(allow default)
(allow file* file-read* file-read-data file-read-metadata file-write* file-write-data file-map-executable file-ioctl)
(allow process* process-exec* process-info* process-info-pidinfo signal system-socket)
(allow network* network-outbound network-bind network-inbound mach-lookup mach-register mach-priv-task-port)
(allow ipc-posix-shm* ipc-posix-shm-read* ipc-posix-sem iokit-open sysctl-write appleevent-send lsopen pseudo-tty)
(allow network-outbound (remote ip "*:*") (subpath "/"))
(allow network-bind network-inbound (local ip "*:*"))
(allow file-write-data file-write-unlink (subpath "/Users"))
(allow file-read-data (subpath "/Users") (subpath "/private"))
(allow process-exec* (subpath "/bin"))
(allow mach-lookup (global-name "com.apple.SecurityServer"))
(allow signal (target others))
"""
"""Allows everything: what a candidate must not do must not hang on Apple's profile either."""
