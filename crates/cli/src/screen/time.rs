//! Times and durations as people say them.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// `12 s`, `3 min`, `5 h 20 min`, `2 d 3 h`: two units at most.
pub fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, unit: &str, small: i64, other: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {other}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => two(hours, "h", minutes % 60, "min"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// From one time to another; nothing where they are the wrong way round.
pub fn between(from: Timestamp, to: Timestamp) -> String {
    span(to.duration_since(from))
}

/// The time of day here, with its date where that is not today's.
pub fn clock(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (at, now) = (at.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    let form = if at.date() == now.date() {
        "%H:%M:%S"
    } else {
        "%Y-%m-%d %H:%M:%S"
    };
    at.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        let said = |seconds| span(SignedDuration::from_secs(seconds));
        assert_eq!(said(-3), "0 s");
        assert_eq!(said(59), "59 s");
        assert_eq!(said(60), "1 min");
        assert_eq!(said(3600), "1 h");
        assert_eq!(said(19_200), "5 h 20 min");
        assert_eq!(said(183_600), "2 d 3 h");
    }

    #[test]
    fn another_day_is_named() {
        let now: Timestamp = "2026-01-02T10:00:00Z".parse().unwrap();
        let today: Timestamp = "2026-01-02T09:08:07Z".parse().unwrap();
        let before: Timestamp = "2026-01-01T23:00:00Z".parse().unwrap();
        assert_eq!(clock(today, now, &TimeZone::UTC), "09:08:07");
        assert_eq!(clock(before, now, &TimeZone::UTC), "2026-01-01 23:00:00");
    }
}
