//! Where binaries come from, and what is said where none come. One twin for all.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::bed::{Bed, FLEET, Ran, built};

#[test]
fn binaries_from_a_release_a_compiler_and_another_node() {
    let bed = Bed::new("build", FLEET).up();
    a_release_through_gh(&bed);
    a_compiler_that_says_no(&bed);
    a_node_that_builds_where_this_machine_cannot(&bed);
    a_binary_for_another_processor(&bed);
}

fn config(bed: &Bed, build: &str, crate_dir: &str) {
    bed.write_config(&format!(
        "workspace: {}
modules:
  plain: {{ project: plain-udp, binary: plain-test, crate: {crate_dir} }}
build: {build}
tests:
  connectivity:
    margins: {{ direct: 40, nat_traversed: 40, relay: 40 }}
    timeout_seconds: 2
",
        bed.dir.path().display()
    ));
}

fn program(path: &Path, script: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn start_with_path(bed: &Bed, first: &Path) -> Ran {
    let path = std::env::var("PATH").unwrap();
    let mut command = bed.command(&bed.start_words(&[]));
    command.env("PATH", format!("{}:{path}", first.display()));
    crate::bed::ran(&command.output().unwrap())
}

fn built_by(bed: &Bed) -> String {
    let journal = bed.journal();
    let built = journal.iter().find(|e| e["event"] == "built").unwrap();
    assert_eq!(built["binary"], "plain-test");
    built["command"].as_str().unwrap().to_owned()
}

fn a_release_through_gh(bed: &Bed) {
    config(bed, "{ release: { repo: o/r, tag: v1.2.3 } }", "none");
    let fake = bed.dir.path().join("fake");
    let asset = built().join("udp-test");
    program(
        &fake.join("gh"),
        &format!(
            "#!/bin/sh\n[ \"$*\" = \"release download v1.2.3 --repo o/r --pattern *linux* --dir $9\" ] || {{ echo \"unexpected: $*\" >&2; exit 1; }}\n\
             cp {} \"$9/plain-test-linux-x86_64\"\n",
            asset.display()
        ),
    );
    let ran = start_with_path(bed, &fake);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout.contains("GitHub release (v1.2.3)"),
        "{}",
        ran.stdout
    );
    assert!(built_by(bed).starts_with("gh release download v1.2.3"));

    program(
        &fake.join("gh"),
        "#!/bin/sh\necho 'release not found' >&2\nexit 1\n",
    );
    let ran = start_with_path(bed, &fake);
    assert_eq!(ran.code, 4, "{}", ran.stdout);
    assert!(ran.stdout.contains("release not found"), "{}", ran.stdout);
}

fn a_compiler_that_says_no(bed: &Bed) {
    let dir = bed.dir.path();
    let source = "fn main() {\n    let wrong: u32 = \"text\";\n}\n";
    std::fs::create_dir_all(dir.join("broken/src")).unwrap();
    std::fs::write(dir.join("broken/src/main.rs"), source).unwrap();
    std::fs::write(
        dir.join("broken/Cargo.toml"),
        "[package]\nname = \"plain-test\"\nversion = \"0.0.0\"\nedition = \"2021\"\n",
    )
    .unwrap();
    std::fs::write(
        dir.join("Cargo.toml"),
        "[workspace]\nmembers = [\"broken\"]\n",
    )
    .unwrap();
    config(bed, "{ command: cargo build --offline }", "broken");
    let ran = bed.start();
    assert_eq!(ran.code, 1, "{}\n{}", ran.stdout, ran.stderr);
    for part in [
        "✗ BUILD_LOCAL",
        "error[E0308]: mismatched types",
        "--> broken/src/main.rs:2:22",
    ] {
        assert!(ran.stdout.contains(part), "{part} in\n{}", ran.stdout);
    }
    let journal = bed.journal();
    let failed = journal
        .iter()
        .find(|e| e["event"] == "build_failed")
        .unwrap();
    let error = &failed["errors"][0];
    assert_eq!(error["file"], "broken/src/main.rs");
    assert_eq!(
        (&error["line"], &error["code"]),
        (&2.into(), &"E0308".into())
    );
    let story = bed.run(&["logs", "plain-udp"]).stdout;
    assert!(
        story.contains("plain does not build: broken/src/main.rs:2: mismatched types"),
        "{story}"
    );
}

/// The cargo there is a stand-in that hands out a program which is there already.
fn a_node_that_builds_where_this_machine_cannot(bed: &Bed) {
    let command = "cargo build --offline --target no-such-target";
    config(
        bed,
        &format!("{{ command: {command}, fallback: two }}"),
        "none",
    );
    let ran = bed.start();
    assert_eq!(ran.code, 2, "{}\n{}", ran.stdout, ran.stderr);
    assert!(
        ran.stderr.contains("build.fallback two is a test node"),
        "{}",
        ran.stderr
    );

    let git = "git init -q . && git add Cargo.toml broken";
    let made = std::process::Command::new("sh")
        .args(["-c", git])
        .current_dir(bed.dir.path())
        .status();
    assert!(made.unwrap().success());
    config(
        bed,
        &format!("{{ command: {command}, fallback: hub }}"),
        "none",
    );
    let ran = bed.start();
    assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("there is no cargo"), "{}", ran.stdout);

    bed.on(
        "hub",
        r#"mkdir -p /root/.cargo/bin && echo 'PATH=/root/.cargo/bin:$PATH' > /root/.cargo/env
cat > /root/.cargo/bin/cargo <<'END'
#!/bin/sh
[ "$*" = "build --offline --message-format=json" ] && [ -e broken/src/main.rs ] || { echo "unexpected: $*" >&2; exit 1; }
mkdir -p "$CARGO_TARGET_DIR/debug"; cp /root/plain-test "$CARGO_TARGET_DIR/debug/plain-test"
echo "{\"reason\":\"compiler-artifact\",\"executable\":\"$CARGO_TARGET_DIR/debug/plain-test\"}"
END
chmod 755 /root/.cargo/bin/cargo"#,
    );
    let copy = format!(
        "'{}' lab exec --name {} hub -- sh -c 'cat > /root/plain-test; chmod 755 /root/plain-test' < '{}'",
        crate::bed::BINARY,
        bed.twin(),
        built().join("udp-test").display()
    );
    let copied = std::process::Command::new("sh")
        .args(["-c", &copy])
        .status();
    assert!(copied.unwrap().success());
    let ran = bed.start();
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(built_by(bed), "cargo build --offline, on hub");
}

fn a_binary_for_another_processor(bed: &Bed) {
    let other = bed.dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let mut content = std::fs::read(built().join("udp-test")).unwrap();
    // `e_machine`: what the header says it is made for.
    let arch = if std::env::consts::ARCH == "aarch64" {
        62u16
    } else {
        183
    };
    content[18..20].copy_from_slice(&arch.to_le_bytes());
    std::fs::write(other.join("plain-test"), content).unwrap();
    config(bed, "{ path: other }", "none");
    let ran = bed.start();
    assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
    let unfit = format!("and the host is {}", std::env::consts::ARCH);
    assert!(
        ran.stdout.contains("`plain-test` is built for"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains(&unfit), "{}", ran.stdout);
}
