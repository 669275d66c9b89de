//! axe-core: what a person with a screen reader or a keyboard would stumble over.

use std::path::PathBuf;
use std::process::Command;

use crate::browser::Browser;

const PACKAGE: &str = "axe-core@4.10.3";

/// The checker's source, from npm the first time.
pub fn source() -> String {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("npm");
    let file = dir.join("node_modules/axe-core/axe.min.js");
    if !file.exists() {
        std::fs::create_dir_all(&dir).unwrap();
        let done = Command::new("npm")
            .args([
                "install",
                "--no-save",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
            ])
            .args(["--prefix", dir.to_str().unwrap(), PACKAGE])
            .status()
            .unwrap();
        assert!(done.success(), "npm cannot install {PACKAGE}");
    }
    std::fs::read_to_string(file).unwrap()
}

/// Serious and critical findings of the page that is open, a line each.
pub fn findings(browser: &Browser, source: &str) -> Vec<String> {
    browser.run(source);
    let found = browser.run_async(
        "const done = arguments[arguments.length - 1];
         axe.run(document, {resultTypes: ['violations']}).then(
           (r) => done(r.violations
             .filter((v) => v.impact === 'serious' || v.impact === 'critical')
             .map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.target.join(' ') + ' ' + (n.any[0] ? n.any[0].message : '')).join(' | ')}`)),
           (e) => done(['axe failed: ' + e]));",
    );
    let lines = found.as_array().unwrap().iter();
    lines
        .map(|line| line.as_str().unwrap().to_owned())
        .collect()
}
