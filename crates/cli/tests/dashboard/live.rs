//! One run on one twin, watched by a browser and by Prometheus.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use crate::axe;
use crate::bed::{Bed, FLEET};
use crate::browser::Browser;
use crate::process::{Running, wait_for};
use crate::prometheus::Prometheus;

const TOKENS: &str = "/var/lib/vps-test/registry/tokens.json";

/// Deploys on a busy machine take their time.
const LONG: Duration = Duration::from_secs(240);

#[test]
fn people_and_prometheus_watch_a_run() {
    let bed = Bed::new("board", FLEET).up();
    // The first run leaves something to compare with, and the registry running.
    let first = bed.start();
    assert_eq!(first.code, 0, "{}", first.stderr);
    let mut forward = Running::start(
        bed.command(&["lab", "forward", "--name", bed.twin(), "hub:443"])
            .stderr(Stdio::null()),
    );
    let line = forward.line_with("127.0.0.1:");
    let port: u16 = line
        .rsplit("127.0.0.1:")
        .next()
        .map(|rest| {
            rest.chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
        })
        .and_then(|digits| digits.parse().ok())
        .unwrap();
    let token = viewer(&bed);
    let certificate = bed.on("hub", "cat /var/lib/vps-test/registry/cert.pem");
    // The certificate is for the address that the host has in the twin.
    let address = bed.on("hub", "hostname -I");
    let address = address.split_whitespace().next().unwrap();
    let prometheus = Prometheus::start(port, address, &certificate, &token);

    let browser = Browser::start();
    let site = format!("https://127.0.0.1:{port}");
    log_in(&browser, &site, &token);
    browser.until(
        "the stream",
        LONG,
        "document.getElementById('live').dataset.state === 'live'",
    );

    // What changes on the page from here on came without a reload.
    browser.run("window.mark = 1");
    let words = bed.start_words(&["--soak", "8s"]);
    let words: Vec<&str> = without_no_soak(&words);
    let mut run = Running::start(
        bed.command(&words)
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    let text = "document.getElementById('main').textContent";
    browser.until(
        "a wait with its countdown",
        LONG,
        "document.querySelector('time.countdown')",
    );
    browser.until(
        "the end of the run",
        LONG,
        &format!("{text}.includes('COMPLETE') || {text}.includes('STOPPED')"),
    );
    assert_eq!(
        browser.run("return window.mark"),
        1,
        "the page was loaded again"
    );
    run.0.wait().unwrap();

    a_cell_opens(&browser, &site);
    pages_are_sound(&browser, &site);
    wait_for("a scrape", Duration::from_secs(20), || {
        prometheus.is_up().then_some(())
    });
    prometheus.expect_all_named();
}

fn viewer(bed: &Bed) -> String {
    let script = format!(
        "/opt/saorsa-test/vps-test-registry token add --tokens {TOKENS} --fleet small --scope viewer --name browser"
    );
    bed.on("hub", &script).trim().to_owned()
}

fn without_no_soak<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let mut words = words.to_vec();
    let at = words.iter().position(|word| *word == "--soak").unwrap();
    words.drain(at..at + 2);
    words
}

fn log_in(browser: &Browser, site: &str, token: &str) {
    browser.open(&format!("{site}/"));
    assert_eq!(browser.run("return location.pathname"), "/login");
    browser.run(&format!(
        "document.getElementById('token').value = '{token}'; document.querySelector('form').submit()"
    ));
    browser.until(
        "the overview",
        LONG,
        "location.pathname === '/' && document.querySelector('.loop')",
    );
}

fn a_cell_opens(browser: &Browser, site: &str) {
    browser.open(&format!("{site}/matrix"));
    browser.until(
        "the matrix",
        LONG,
        "document.querySelectorAll('.heat td a').length === 12",
    );
    browser.run("[...document.querySelectorAll('.heat td a')].find((a) => a.textContent.includes('●')).click()");
    browser.until(
        "the cell",
        LONG,
        "document.querySelector('#cell .attempts li')",
    );
    let story = browser.run("return document.getElementById('cell').textContent");
    let story = story.as_str().unwrap();
    for word in [
        "Predicted",
        "always",
        "Observed",
        "direct",
        "plain UDP",
        "counted",
    ] {
        assert!(story.contains(word), "{word}: {story}");
    }
}

/// No error on the console, nothing serious for axe, dark and light, wide and narrow.
fn pages_are_sound(browser: &Browser, site: &str) {
    let source = axe::source();
    let shots = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    std::fs::create_dir_all(&shots).unwrap();
    for (name, path) in [
        ("overview", "/"),
        ("matrix", "/matrix?from=cone&to=port"),
        ("latency", "/matrix?by=latency"),
        ("map", "/map"),
        ("nat", "/nat"),
        ("runs", "/runs"),
        ("node", "/nodes/cone"),
    ] {
        browser.open(&format!("{site}{path}"));
        for (scheme, width) in [("light", 1280), ("dark", 390)] {
            browser.look(width, scheme);
            let found = axe::findings(browser, &source);
            assert!(found.is_empty(), "{path} {scheme}: {found:#?}");
            let wide = browser.run("return document.documentElement.scrollWidth > innerWidth");
            assert_eq!(wide, false, "{path} scrolls sideways at {width}");
        }
        for (scheme, width) in [
            ("light", 1280),
            ("dark", 1280),
            ("light", 390),
            ("dark", 390),
        ] {
            browser.screenshot(
                width,
                scheme,
                &shots.join(format!("{name}-{width}-{scheme}.png")),
            );
        }
        let errors = browser.console_errors();
        assert!(errors.is_empty(), "{path}: {errors:#?}");
    }
    browser.open(&format!("{site}/runs"));
    browser.run("document.querySelector('form.compare').submit()");
    browser.until(
        "the comparison",
        LONG,
        "location.pathname === '/compare' && document.querySelector('table')",
    );
}
