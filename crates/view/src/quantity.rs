//! Quantities as people read them.

/// Three significant digits in decimal units: `31.4 MB`.
pub fn bytes(count: f64) -> String {
    let mut value = count;
    for unit in ["B", "kB", "MB", "GB"] {
        if value.abs() < 999.5 {
            let digits = if unit == "B" || value.abs() >= 99.95 {
                0
            } else {
                1
            };
            return format!("{value:.digits$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// The two largest units of a time span: `1 h 2 min`, `4 s`.
pub fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", whole % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_their_size() {
        let shown: Vec<_> = [0.0, 999.0, 1000.0, 31_400_000.0, 999_960_000.0, 5e13]
            .map(bytes)
            .into();
        assert_eq!(
            shown,
            ["0 B", "999 B", "1.0 kB", "31.4 MB", "1.0 GB", "50.0 TB"]
        );
    }

    #[test]
    fn spans_show_two_units() {
        let shown: Vec<_> = [-1.0, 4.9, 62.0, 3725.0, 90_061.0].map(span).into();
        assert_eq!(shown, ["0 s", "4 s", "1 min 2 s", "1 h 2 min", "1 d 1 h"]);
    }
}
