#!/bin/sh
# Installs the given Debian packages without starting any service of theirs.
#
# Called by `cargo xtask setup`, as root. The twin needs sshd's program, not a
# listening sshd on this machine: /usr/sbin/policy-rc.d is what both invoke-rc.d
# and deb-systemd-invoke ask before they start anything. One that is there
# already is the administrator's and decides as before.
set -eu

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@"

# Installing enables these for the next boot. Who had none does not want one.
for package in "$@"; do
    command -v systemctl >/dev/null || break
    case "$package" in
    openssh-server) systemctl disable ssh.service ssh.socket ;;
    coturn) systemctl disable coturn.service ;;
    esac
done
