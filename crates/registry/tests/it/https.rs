//! TLS with the certificate that `certify` makes, pinned as testers pin it.

use std::fs;

use crate::binary::{Binary, run};
use crate::client::{Client, FLEET, Keys};

#[test]
fn testers_that_pin_the_certificate_are_served_and_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let certify = |out: &std::path::Path| {
        let name = ["certify", "--name", "localhost", "--address", "127.0.0.1"];
        run(&[&name[..], &["--out", out.to_str().unwrap()]].concat())
    };
    assert!(certify(dir.path()).stdout.starts_with("made "));
    assert!(certify(dir.path()).stdout.starts_with("kept "));
    let tokens = dir.path().join("tokens.json");
    let keys = Keys::make(&tokens, FLEET);

    let registry = Binary::serve(&[
        "--cert",
        cert.to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
        "--tokens",
        tokens.to_str().unwrap(),
    ]);
    assert!(registry.url.starts_with("https://127.0.0.1:"));
    let pem = fs::read(&cert).unwrap();
    let by_address = Client::pinned(&registry.url, keys.clone(), &pem);
    by_address.register("saorsa-4", 1);
    let by_name = registry.url.replace("127.0.0.1", "localhost");
    let by_name = Client::pinned(&by_name, keys.clone(), &pem);
    assert_eq!(by_name.get("/health").json()["peers_alive"], 1);

    let other = tempfile::tempdir().unwrap();
    certify(other.path());
    let strange = fs::read(other.path().join("cert.pem")).unwrap();
    let mistaken = Client::pinned(&registry.url, keys.clone(), &strange);
    assert!(mistaken.try_get("/health").is_err());
    let plain = Client::plain(&registry.url.replace("https", "http"), keys);
    assert!(plain.try_get("/health").is_err());
}
