//! Time of day, as testers of one fleet share it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, with fractions.
pub fn now_ms() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
        * 1e3
}
