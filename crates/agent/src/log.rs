//! What the tester logs goes to standard error, and its newest lines wait here for
//! the next heartbeat.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// As many and as long as the registry takes at once.
const LINES_MAX: usize = 100;
const LINE_MAX: usize = 500;

static LINES: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// One event a write, which is how `tracing_subscriber` writes them.
pub(crate) struct Tee;

impl Write for Tee {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        keep(&String::from_utf8_lossy(event));
        io::stderr().write_all(event)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn keep(event: &str) {
    let mut lines = lock();
    for line in event.lines() {
        let mut end = line.len().min(LINE_MAX);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        lines.push_back(line[..end].to_owned());
    }
    while lines.len() > LINES_MAX {
        lines.pop_front();
    }
}

/// All that wait, oldest first.
pub(crate) fn take() -> Vec<String> {
    lock().drain(..).collect()
}

/// They were not heard; newer ones may have come meanwhile.
pub(crate) fn put_back(unheard: Vec<String>) {
    let mut lines = lock();
    let room = LINES_MAX.saturating_sub(lines.len());
    let skip = unheard.len().saturating_sub(room);
    for line in unheard.into_iter().skip(skip).rev() {
        lines.push_front(line);
    }
}

fn lock() -> std::sync::MutexGuard<'static, VecDeque<String>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_wait_and_come_back_in_order() {
        take();
        for n in 0..LINES_MAX + 2 {
            keep(&format!("line {n}\n"));
        }
        keep(&"é".repeat(LINE_MAX));
        let lines = take();
        assert_eq!(lines.len(), LINES_MAX);
        assert_eq!(lines[0], "line 3");
        assert!(lines.last().unwrap().len() <= LINE_MAX);
        keep("newer");
        put_back(lines);
        let again = take();
        assert_eq!(again.len(), LINES_MAX);
        assert_eq!(again[0], "line 4");
        assert_eq!(again.last().unwrap(), "newer");
    }
}
