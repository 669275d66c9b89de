//! The twin where PID 1 is systemd.
