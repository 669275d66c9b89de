//! Upload, services, what is kept and what is removed.

use std::time::{Duration, Instant};

use fleet::{Artifact, FleetError, Host, Service, Unit};

use crate::twin::{alone, connect, sh, sleeper};

fn service(name: &str, artifact: &Artifact, word: &str) -> Service {
    Service {
        artifact: artifact.clone(),
        unit: Unit {
            name: format!("t-{name}.service"),
            description: "a test's".into(),
            exec: vec![word.into()],
            requires: Vec::new(),
            netns: None,
            instances: None,
        },
        pinned: false,
    }
}

async fn pid(host: &Host, unit: &str) -> String {
    sh(host, &format!("systemctl show -p MainPID --value {unit}")).await
}

async fn digest(host: &Host, pid: &str) -> String {
    let text = sh(host, &format!("sha256sum < /proc/{pid}/exe")).await;
    text.split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_there_is_not_sent_again() {
    let host = connect("pub-1").await;
    let (a, b) = (sleeper("a"), sleeper("b"));
    let size = a.content.len() as u64;
    let path = "/opt/upload";
    let sent = host.upload(&[&a], path, |_, _| {}).await.unwrap();
    assert_eq!(sent, [size]);
    let sent = host.upload(&[&a, &b], path, |_, _| {}).await.unwrap();
    assert_eq!(sent, [0, size]);
    let there = sh(
        &host,
        "cd /opt/upload && sha256sum < $(readlink sleeper) && ls -A | wc -l",
    );
    assert_eq!(there.await, format!("{}  -\n3", b.sha256));
}

#[tokio::test]
async fn progress_ends_at_the_whole_size() {
    let host = connect("pub-1").await;
    let mut big = sleeper("big");
    let mut content = big.content.to_vec();
    content.extend(noise().take(3_000_000 - content.len()));
    big = rename(&content);
    let told = std::cell::RefCell::new(Vec::new());
    host.upload(&[&big], "/opt/progress", |_, sent| {
        told.borrow_mut().push(sent)
    })
    .await
    .unwrap();
    let told = told.into_inner();
    assert!(told.is_sorted() && told.len() > 5, "{told:?}");
    assert_eq!(told.last(), Some(&3_000_000));
}

/// Bytes that cannot be packed.
fn noise() -> impl Iterator<Item = u8> {
    let step = |state: &u64| {
        let mut next = *state ^ (*state << 13);
        next ^= next >> 7;
        Some(next ^ (next << 17))
    };
    std::iter::successors(Some(88_172_645_463_325_252_u64), step).map(|state| (state >> 32) as u8)
}

#[tokio::test]
async fn what_can_be_packed_is_and_arrives_whole() {
    let host = connect("pub-1").await;
    let zeros = rename(&vec![0; 5_000_000]);
    assert!(zeros.packed().len() < 10_000);
    host.upload(&[&zeros], "/opt/packed", |_, _| {})
        .await
        .unwrap();
    let size = sh(&host, "stat -L -c %s /opt/packed/sleeper").await;
    assert_eq!(size, "5000000");
    let noise = rename(&noise().take(100_000).collect::<Vec<u8>>());
    assert_eq!(noise.packed(), noise.content.as_slice());
}

fn rename(content: &[u8]) -> Artifact {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sleeper");
    std::fs::write(&path, content).unwrap();
    Artifact::read(&path).unwrap()
}

#[tokio::test]
async fn uploads_to_one_place_at_a_time_leave_each_other_alone() {
    let (one, other) = (connect("pub-1").await, connect("pub-1").await);
    let elsewhere = connect("pub-2").await;
    let (a, b) = (sleeper("parallel a"), sleeper("parallel b"));
    let path = "/opt/parallel";
    let (forth, back) = ([&a, &b], [&b, &a]);
    let (x, y, z) = tokio::join!(
        one.upload(&forth, path, |_, _| {}),
        other.upload(&back, path, |_, _| {}),
        elsewhere.upload(&forth, path, |_, _| {}),
    );
    for sent in [x, y, z] {
        assert_eq!(sent.unwrap().len(), 2);
    }
    assert_eq!(sh(&one, "ls -A /opt/parallel | wc -l").await, "3");
}

#[tokio::test]
async fn bytes_that_are_not_the_artifact_are_refused() {
    let host = connect("pub-1").await;
    let mut artifact = sleeper("corrupt");
    artifact.sha256 = "0".repeat(64);
    let error = host.upload(&[&artifact], "/opt/corrupt", |_, _| {}).await;
    let error = error.unwrap_err();
    let FleetError::Digest { node, found, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(node.as_str(), "pub-1");
    assert_eq!(*found, sleeper("corrupt").sha256);
    assert_eq!(sh(&host, "ls -A /opt/corrupt").await, "");
}

#[tokio::test]
async fn a_full_disk_is_told_with_path_and_numbers() {
    let host = connect("pub-2").await;
    sh(
        &host,
        "mkdir -p /opt/full && mount -t tmpfs -o size=20k tmpfs /opt/full",
    )
    .await;
    let artifact = sleeper("full");
    let error = host.upload(&[&artifact], "/opt/full", |_, _| {}).await;
    let left = sh(&host, "ls -A /opt/full; umount /opt/full").await;
    let error = error.unwrap_err();
    let FleetError::DiskFull {
        node,
        path,
        needed,
        free,
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((node.as_str(), path.as_str()), ("pub-2", "/opt/full"));
    assert_eq!(*needed, artifact.content.len() as u64);
    assert_eq!(*free, 20480);
    assert_eq!(left, "", "a partial file stayed");
}

#[tokio::test]
async fn a_disk_that_fills_while_bytes_come_is_told_too() {
    let (host, _alone) = alone("spare").await;
    let artifact = sleeper("filling");
    let size = artifact.content.len();
    // `df` finds room for it, and another takes the room meanwhile.
    let hostile = format!(
        "mkdir -p /opt/filling && mount -t tmpfs -o size={size} tmpfs /opt/filling
         mkdir -p /root/bin && printf '#!/bin/sh\\necho Avail; echo 99999999\\n' > /root/bin/df && chmod 755 /root/bin/df
         mount --bind /root/bin/df /usr/bin/df && fallocate -l 16k /opt/filling/other"
    );
    sh(&host, &hostile).await;
    let error = host.upload(&[&artifact], "/opt/filling", |_, _| {}).await;
    let left = sh(
        &host,
        "umount /usr/bin/df; ls -A /opt/filling; umount /opt/filling",
    )
    .await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, FleetError::DiskFull { needed, .. } if *needed == size as u64),
        "{error}"
    );
    assert_eq!(left, "other");
}

#[tokio::test]
async fn a_unit_that_finds_no_room_does_not_replace_the_old_one() {
    let (host, _alone) = alone("spare").await;
    let mut services = [service("room", &sleeper("v1"), "1000")];
    let path = "/opt/room";
    host.install(&services, path, |_, _| {}).await.unwrap();
    let unit = "cat /etc/systemd/system/t-room.service";
    let before = sh(&host, unit).await;
    sh(
        &host,
        "mount -o remount,size=$(df -k --output=used / | tail -n 1 | tr -d ' ')k /",
    )
    .await;
    services[0].unit.exec = vec!["2000".into()];
    let error = host.install(&services, path, |_, _| {}).await;
    let after = sh(&host, unit).await;
    sh(&host, "mount -o remount,size=1g /").await;
    host.clean(path).await.unwrap();
    let error = error.unwrap_err();
    assert!(
        matches!(&error, FleetError::DiskFull { path, .. } if path == "/etc/systemd/system"),
        "{error}"
    );
    assert_eq!(after, before);
}

#[tokio::test]
async fn an_installed_service_runs_the_artifact_and_an_unchanged_one_goes_on() {
    let host = connect("pub-1").await;
    let first = [service("same", &sleeper("v1"), "1000")];
    let installed = host.install(&first, "/opt/same", |_, _| {}).await.unwrap();
    let before = pid(&host, "t-same.service").await;
    assert_eq!(installed[0].digest, first[0].artifact.sha256);
    assert_eq!(digest(&host, &before).await, installed[0].digest);

    let began = Instant::now();
    let again = host.install(&first, "/opt/same", |_, _| {}).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_millis(1500),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(again[0].sent_bytes, 0);
    assert_eq!(pid(&host, "t-same.service").await, before);

    let second = [service("same", &sleeper("v2"), "1000")];
    let replaced = host.install(&second, "/opt/same", |_, _| {}).await.unwrap();
    let after = pid(&host, "t-same.service").await;
    assert_ne!(after, before);
    assert_eq!(replaced[0].digest, second[0].artifact.sha256);
    assert_eq!(digest(&host, &after).await, replaced[0].digest);
}

#[tokio::test]
async fn a_pinned_service_stays_and_prune_keeps_what_it_runs() {
    let host = connect("pub-1").await;
    let path = "/opt/pinned";
    let versions = ["p1", "p2", "p3", "p4"].map(sleeper);
    let mut pinned = service("pinned", &versions[0], "1000");
    pinned.pinned = true;
    host.install(&[pinned.clone()], path, |_, _| {})
        .await
        .unwrap();
    let before = pid(&host, "t-pinned.service").await;
    for version in &versions[1..] {
        pinned.artifact = version.clone();
        let tested = service("tested", version, "1000");
        let installed = host
            .install(&[pinned.clone(), tested], path, |_, _| {})
            .await
            .unwrap();
        assert_eq!(installed[0].digest, versions[0].sha256);
        assert_eq!(installed[1].digest, version.sha256);
        host.prune(&[version], path).await.unwrap();
    }
    assert_eq!(pid(&host, "t-pinned.service").await, before);
    let kept = sh(&host, "ls /opt/pinned").await;
    for (version, stays) in versions.iter().zip([true, false, true, true]) {
        assert_eq!(kept.contains(&version.sha256), stays, "{kept}");
    }
}

#[tokio::test]
async fn prune_keeps_the_current_and_the_previous_also_after_going_back() {
    let host = connect("pub-1").await;
    let path = "/opt/prune";
    let versions = ["q1", "q2", "q3"].map(sleeper);
    for which in [0, 1, 0, 2] {
        let services = [service("prune", &versions[which], "1000")];
        host.install(&services, path, |_, _| {}).await.unwrap();
        host.prune(&[&versions[which]], path).await.unwrap();
        // A tester starts what stands beside it by its name.
        let named = sh(&host, "readlink /opt/prune/sleeper").await;
        assert_eq!(named, versions[which].path_in(path));
    }
    let kept = sh(&host, "ls /opt/prune").await;
    for (version, stays) in versions.iter().zip([true, false, true]) {
        assert_eq!(kept.contains(&version.sha256), stays, "{kept}");
    }
}

#[tokio::test]
async fn a_service_that_dies_at_start_shows_its_last_words() {
    let host = connect("pub-1").await;
    let services = [service("dies", &sleeper("v1"), "nonsense")];
    let error = host.install(&services, "/opt/dies", |_, _| {}).await;
    sh(&host, "systemctl stop t-dies.service").await;
    let error = error.unwrap_err();
    let FleetError::ServiceDied {
        node,
        unit,
        because,
        log,
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((node.as_str(), unit.as_str()), ("pub-1", "t-dies.service"));
    assert!(log.contains("invalid time interval"), "{log}");
    assert!(
        because.starts_with("t-dies.service does not run: it exits with status 1"),
        "{because}"
    );
}

#[tokio::test]
async fn clean_leaves_nothing_of_ours_and_all_that_is_others() {
    let (host, _alone) = alone("spare").await;
    let path = "/opt/clean";
    let units = "systemctl list-unit-files --no-legend --no-pager | awk '{print $1}' | sort";
    let before = sh(&host, units).await;
    sh(
        &host,
        "mkdir -p /opt/clean && echo theirs > /opt/clean/notes",
    )
    .await;
    let services = [
        service("one", &sleeper("v1"), "1000"),
        service("two", &sleeper("v2"), "1000"),
    ];
    host.install(&services, path, |_, _| {}).await.unwrap();
    host.apply_nat(&crate::nat::nat_box(model::nat::Behaviour::FULL_CONE))
        .await
        .unwrap();
    assert_ne!(sh(&host, units).await, before);

    host.clean(path).await.unwrap();
    assert_eq!(sh(&host, units).await, before);
    assert_eq!(sh(&host, "ls -A /opt/clean").await, "notes");
    let gone = "ls -d /run/vps-test /var/lib/vps-test /etc/systemd/system/*natbox* 2>/dev/null; ip netns; nft list ruleset; \
                ip -o link show natbox0 2>/dev/null; pgrep -x sleeper; cat /proc/sys/net/ipv4/conf/eth0/forwarding";
    assert_eq!(sh(&host, gone).await, "0");
    // And once more, where nothing is left.
    host.clean(path).await.unwrap();
    host.clean("/opt/never-was").await.unwrap();
}
