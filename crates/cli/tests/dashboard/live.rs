//! One run on one twin, watched by a browser and by Prometheus.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use crate::axe;
use crate::bed::Bed;
use crate::browser::Browser;
use crate::process::{Running, wait_for};
use crate::prometheus::Prometheus;

const TOKENS: &str = "/var/lib/vps-test/registry/tokens.json";

/// The usual one, spread over the world.
const FLEET: &str = "\
fleet: small
regions:
  Helsinki: { latitude: 60.17, longitude: 24.94 }
  Nuremberg: { latitude: 49.45, longitude: 11.08 }
  New York: { latitude: 40.71, longitude: -74.01 }
  Tokyo: { latitude: 35.68, longitude: 139.69 }
nodes:
  - { name: hub, addresses: [192.0.2.1], provider: Lab, region: Helsinki, role: registry }
  - { name: one, addresses: [192.0.2.11], provider: Lab, region: New York, role: bootstrap }
  - { name: two, addresses: [192.0.2.12], provider: Lab, region: Helsinki, role: bootstrap }
  - { name: cone, addresses: [192.0.2.21], provider: Lab, region: Nuremberg, role: nat, nat: { type: full-cone } }
  - { name: port, addresses: [192.0.2.22], provider: Lab, region: Tokyo, role: nat, nat: { type: port-restricted } }
";

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
    let token = token(&bed, "viewer", "browser");
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
    let words = with_a_soak_and_a_person(&bed);
    let mut run = Running::start(
        bed.command(&words)
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    browser.until(
        "a wait with its countdown",
        LONG,
        "document.querySelector('time.countdown')",
    );
    browser.until(
        "the end of the run",
        LONG,
        "/COMPLETE|STOPPED/.test(document.querySelector('.loop .state-word').textContent)",
    );
    assert_eq!(
        browser.run("return window.mark"),
        1,
        "the page was loaded again"
    );
    run.0.wait().unwrap();

    a_cell_opens(&browser, &site);
    a_map_is_drawn(&browser, &site);
    let source = axe::source();
    pages_are_sound(&browser, &site, &source);
    a_person_confirms(&bed, &browser, &site, &source);
    wait_for("a scrape", Duration::from_secs(20), || {
        prometheus.is_up().then_some(())
    });
    prometheus.expect_all_named();
}

fn token(bed: &Bed, scope: &str, name: &str) -> String {
    let script = format!(
        "/opt/saorsa-test/vps-test-registry token add --tokens {TOKENS} --fleet small --scope {scope} --name {name}"
    );
    bed.on("hub", &script).trim().to_owned()
}

fn with_a_soak_and_a_person(bed: &Bed) -> Vec<&str> {
    let mut words = bed.start_words(&[]);
    for word in &mut words {
        match *word {
            "all-evidence" => *word = "manual-verify",
            "0" => *word = "8s",
            _ => {}
        }
    }
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

fn a_map_is_drawn(browser: &Browser, site: &str) {
    browser.open(&format!("{site}/map"));
    // One, cone and port are in regions of their own, and two is in Helsinki.
    let links = browser.run("return document.querySelectorAll('svg.map path.link.direct').length");
    assert_eq!(links, 6, "four regions, all joined directly");
    let ends = browser.run("return document.querySelectorAll('svg.map circle.site').length");
    assert_eq!(ends, 4);
    let words = browser.run("return document.querySelector('svg.map').getAttribute('aria-label')");
    assert_eq!(words, "Map of 4 regions; paths between nodes: 12 direct");
    let rows = browser.run("return document.querySelectorAll('table.between tbody tr').length");
    assert_eq!(rows, 6, "the table says what the map shows");
    let drawn = browser.run(
        "const link = document.querySelector('svg.map path.link');
         return getComputedStyle(link).stroke !== 'none' && link.getBoundingClientRect().width > 10",
    );
    assert_eq!(drawn, true, "the style sheet colours it");
}

/// Somebody who may decides with the page's form, and the run, which waits for it at
/// its own machine, ends accordingly.
fn a_person_confirms(bed: &Bed, browser: &Browser, site: &str, source: &str) {
    let dir = std::fs::canonicalize(bed.run_dir()).unwrap();
    let path = format!("/runs/plain-udp/{}", dir.file_name().unwrap().display());
    let forms = "return document.querySelectorAll('.decision form').length";
    browser.open(&format!("{site}{path}"));
    assert_eq!(browser.run(forms), 0, "a viewer decides nothing");
    let said = browser.run("return document.querySelector('.decision').textContent");
    assert!(
        said.as_str().unwrap().contains("waits for a person"),
        "{said}"
    );

    browser.run("document.querySelector('form.person button').click()");
    browser.until("the login", LONG, "location.pathname === '/login'");
    log_in(browser, site, &token(bed, "operator", "ada"));
    page_is_sound(browser, site, source, "waiting", &path);
    assert_eq!(browser.run(forms), 2);
    let mut watch = Running::start(
        bed.command(&["confirm", "plain-udp", "--watch"])
            .stderr(Stdio::null()),
    );
    watch.line_with("waits for somebody");
    browser.run(
        "document.getElementById('why-confirmed').value = 'looks right';
         document.querySelector('.decision button.confirmed').click()",
    );
    // The page is told by itself what came of it.
    browser.until(
        "the run's end",
        LONG,
        "document.querySelector('.headline .state-word').textContent.includes('COMPLETE')",
    );
    let text = browser.run("return document.getElementById('main').textContent");
    let text = text.as_str().unwrap();
    assert!(
        text.contains("Confirmed by ada") && text.contains("looks right"),
        "{text}"
    );
    assert_eq!(browser.run(forms), 0);
    assert!(watch.0.wait().unwrap().success());
    let proof = bed.proof();
    assert_eq!(proof["verdict"], "PASS");
    assert_eq!(proof["review"]["by"], "ada");
    assert_eq!(proof["review"]["via"], "dashboard");
    assert_eq!(proof["review"]["reason"], "looks right");
    page_is_sound(browser, site, source, "confirmed", &path);
}

fn pages_are_sound(browser: &Browser, site: &str, source: &str) {
    for (name, path) in [
        ("overview", "/"),
        ("matrix", "/matrix?from=cone&to=port"),
        ("latency", "/matrix?by=latency"),
        ("map", "/map"),
        ("nat", "/nat"),
        ("runs", "/runs"),
        ("node", "/nodes/cone"),
    ] {
        page_is_sound(browser, site, source, name, path);
    }
    browser.open(&format!("{site}/runs"));
    browser.run("document.querySelector('form.compare').submit()");
    browser.until(
        "the comparison",
        LONG,
        "location.pathname === '/compare' && document.querySelector('table')",
    );
}

/// No error on the console, nothing serious for axe, dark and light, wide and narrow.
fn page_is_sound(browser: &Browser, site: &str, source: &str, name: &str, path: &str) {
    let shots = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    std::fs::create_dir_all(&shots).unwrap();
    browser.open(&format!("{site}{path}"));
    for (scheme, width) in [("light", 1280), ("dark", 390)] {
        browser.look(width, scheme);
        let found = axe::findings(browser, source);
        assert!(found.is_empty(), "{path} {scheme}: {found:#?}");
        let wide = browser.run("return document.documentElement.scrollWidth > innerWidth");
        assert_eq!(wide, false, "{path} scrolls sideways at {width}");
    }
    for width in [1280, 390] {
        for scheme in ["light", "dark"] {
            let file = shots.join(format!("{name}-{width}-{scheme}.png"));
            browser.screenshot(width, scheme, &file);
        }
    }
    let errors = browser.console_errors();
    assert!(errors.is_empty(), "{path}: {errors:#?}");
}
