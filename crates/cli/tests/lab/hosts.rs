//! What a host is, seen from inside it.

use crate::site::SHARED;

#[test]
fn hosts_see_nothing_of_the_machine() {
    let inside = SHARED.sh(
        "a",
        "ls -A /home /srv /mnt /opt /usr/local /boot /work 2>/dev/null; ls -A /root",
    );
    let found: Vec<_> = inside
        .lines()
        .filter(|line| !line.is_empty() && !line.ends_with(':'))
        .collect();
    assert_eq!(found, [".ssh"], "{inside}");
    assert_eq!(SHARED.sh("a", "cat /etc/hostname; hostname"), "a\na");
}

#[test]
fn hosts_see_only_their_own_processes() {
    let own = std::process::id();
    let listed = SHARED.sh("a", "ps -A -o args=");
    let count = listed.lines().count();
    assert!((3..15).contains(&count), "{listed}");
    assert!(listed.starts_with("/usr/lib/systemd/systemd"), "{listed}");
    assert!(!listed.contains("vps-test"), "{listed}");
    assert_eq!(
        SHARED.sh(
            "a",
            &format!("test -e /proc/{own} && echo seen || echo hidden")
        ),
        "hidden"
    );
}

#[test]
fn a_host_has_one_interface_beside_loopback() {
    for host in ["a", "tokyo"] {
        assert_eq!(
            SHARED.sh(host, "ls /sys/class/net | xargs"),
            "eth0 lo",
            "{host}"
        );
        let address = SHARED.address(host);
        let route = SHARED.sh(host, "ip -o route show default");
        assert_eq!(route, format!("default dev eth0 scope link src {address}"));
    }
    let both = SHARED.sh(
        "b",
        "ip -4 -o address show dev eth0 | awk '{print $4}' | xargs",
    );
    assert_eq!(both, "198.18.2.10/32 198.18.3.10/32");
}

#[test]
fn a_hosts_root_is_a_tmpfs_with_a_cap_and_usr_is_read_only() {
    let root = SHARED.sh("a", "findmnt -n -o FSTYPE,SIZE /");
    assert_eq!(root.split_whitespace().collect::<Vec<_>>(), ["tmpfs", "1G"]);
    let write = SHARED.exec("a", &["touch", "/usr/bin/new"]);
    assert!(!write.status.success());
    let fill = SHARED.exec(
        "a",
        &["dd", "if=/dev/zero", "of=/var/fill", "bs=1M", "count=1100"],
    );
    SHARED.sh("a", "rm -f /var/fill");
    assert!(
        !fill.status.success(),
        "a host can fill the machine's memory"
    );
}

#[test]
fn a_hosts_own_services_and_firewall_work() {
    assert_eq!(
        SHARED.sh(
            "b",
            "systemctl is-active ssh.service systemd-journald.service || true"
        ),
        "active\nactive"
    );
    assert_eq!(SHARED.sh("b", "systemctl --failed --no-legend --plain"), "");
    assert_eq!(
        SHARED.sh(
            "b",
            "nft add table ip t && nft list tables && nft delete table ip t"
        ),
        "table ip t"
    );
    assert_eq!(
        SHARED.sh("b", "ip netns add x && ip netns list && ip netns delete x"),
        "x"
    );
    assert_eq!(
        SHARED.sh(
            "b",
            "sysctl -q -w net.ipv4.ip_forward=1 && cat /proc/sys/net/ipv4/ip_forward"
        ),
        "1"
    );
}

#[test]
fn hosts_resolve_the_fleets_names_and_no_others() {
    let address = SHARED.address("a").to_string();
    let got = SHARED.sh("b", "getent ahostsv4 a.example.net | head -1");
    assert!(got.starts_with(&address), "{got}");
    assert!(
        !SHARED
            .exec("b", &["getent", "hosts", "example.com"])
            .status
            .success()
    );
}

#[test]
fn there_is_no_way_out_of_a_twin() {
    let before = SHARED.twin.status().unwrap().wan.no_route;
    let script = "exec 3<>/dev/tcp/192.0.2.1/80";
    let outside = SHARED.exec("a", &["timeout", "2", "bash", "-c", script]);
    assert!(!outside.status.success());
    let after = SHARED.twin.status().unwrap().wan.no_route;
    assert!(after > before, "the WAN saw nothing of it");
}

#[test]
fn a_host_cannot_send_in_anothers_name() {
    let before = SHARED.twin.status().unwrap().wan.spoofed;
    let forge = "ip addr add 198.18.1.10/32 dev lo && ping -c 1 -W 1 -I 198.18.1.10 198.18.4.10; ip addr del 198.18.1.10/32 dev lo";
    let output = SHARED.exec("b", &["sh", "-c", forge]);
    let after = SHARED.twin.status().unwrap().wan.spoofed;
    assert!(after > before, "{output:?}");
}
