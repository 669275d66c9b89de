//! What is missing, and what is wrong, is said in words that help.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::site::{PROGRAM, fleet_of, said, unused_name, up, write_inventory};

/// `lab up` behind other words, such as `setpriv …`; it must fail.
fn up_behind(words: &[&str], program: &Path) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let inventory = write_inventory(directory.path(), &fleet_of(1));
    let name = unused_name("missing");
    let output: Output = Command::new(words[0])
        .args(&words[1..])
        .arg(program)
        .args(["lab", "up", "--name", &name, "--fleet"])
        .arg(inventory)
        .output()
        .unwrap();
    assert!(
        !Path::new("/run/vps-test/lab").join(name).exists(),
        "something is left"
    );
    (output.status.code(), said(&output))
}

/// `lab up` where this path is not what it was.
fn up_without(path: &str) -> (Option<i32>, String) {
    let script = "mount --bind \"$0\" \"$1\"; shift; exec \"$@\"";
    let instead = if Path::new(path).is_dir() {
        "/mnt"
    } else {
        "/dev/null"
    };
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    up_behind(
        &[
            "unshare",
            "--mount",
            "sh",
            "-c",
            script,
            instead,
            path.to_str().unwrap(),
        ],
        Path::new(PROGRAM),
    )
}

#[test]
fn without_root_it_says_so() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = directory.path().join("vps-test");
    std::fs::copy(PROGRAM, &program).unwrap();
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let (code, said) = up_behind(&nobody, &program);
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("needs root") && said.contains("sudo"),
        "{said}"
    );
}

#[test]
fn root_without_its_capabilities_is_told_which() {
    for missing in ["sys_admin", "net_admin"] {
        let bounds = format!("--bounding-set=-{missing}");
        let (code, said) = up_behind(&["setpriv", &bounds], Path::new(PROGRAM));
        assert_eq!(code, Some(4), "{said}");
        let name = format!("CAP_{}", missing.to_uppercase());
        assert!(said.contains(&name), "{said}");
    }
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    let programs = [
        ("/usr/bin/systemd-nspawn", "systemd-container"),
        ("/usr/sbin/sshd", "openssh-server"),
        ("/usr/bin/ssh", "openssh-client"),
        ("/usr/bin/ssh-keygen", "openssh-client"),
        ("/usr/bin/ip", "iproute2"),
        ("/usr/sbin/nft", "nftables"),
    ];
    for (path, package) in programs {
        let (code, said) = up_without(path);
        assert_eq!(code, Some(4), "{path}: {said}");
        let name = path.rsplit('/').next().unwrap();
        assert!(said.contains(&format!("needs `{name}`")), "{said}");
        assert!(
            said.contains(&format!("apt-get install {package}")),
            "{said}"
        );
    }
}

#[test]
fn without_tun_it_says_how_to_get_it() {
    let (code, said) = up_without("/dev/net");
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("needs `/dev/net/tun`") && said.contains("modprobe tun"),
        "{said}"
    );
}

#[test]
fn a_path_without_the_programs_is_a_machine_without_them() {
    let (code, said) = up_behind(&["env", "PATH=/nonexistent"], Path::new(PROGRAM));
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("needs `systemd-nspawn`"), "{said}");
}

#[test]
fn a_wrong_inventory_is_shown_with_its_line() {
    let wrong = fleet_of(2).replace("10.0.0.3", "10.0.0.333");
    let output = up(&unused_name("wrong"), &wrong);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("fleet.yaml:4"), "{text}");
    assert!(text.contains("10.0.0.333"), "{text}");
}

#[test]
fn a_name_that_would_not_do_is_refused() {
    for name in ["", "Twin", "../x", "a b"] {
        let output = up(name, &fleet_of(1));
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(
            said(&output).contains("is not a twin's name"),
            "{}",
            said(&output)
        );
    }
    let missing = crate::site::lab("t-none", "up", &["--fleet", "/nonexistent.yaml"]);
    assert_eq!(missing.status.code(), Some(2), "{}", said(&missing));
    assert!(
        said(&missing).contains("/nonexistent.yaml"),
        "{}",
        said(&missing)
    );
}
